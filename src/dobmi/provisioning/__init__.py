"""Issuing, topping up and inspecting cards at a station; blocking them."""
