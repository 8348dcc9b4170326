"""Gatepost's relay: SMTP in, the customer's server out, and everything that remembers."""

__version__ = "0.1.0"
