"""What crosses the network: vouchers, batches, acknowledgements, feed; the client that carries them."""
