"""Readers behind one small protocol. A reader is named by a URL: `pcsc:`, `pcsc:ACR122`, `nfc:usb`, `sim:card.json`."""

from dobmi.cardlib.readers.base import CardConnection, Reader, Signal, open_reader

__all__ = ["CardConnection", "Reader", "Signal", "open_reader"]
