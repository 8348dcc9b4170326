"""Shipped rules in Python, by the part of the mail they look at; pure, one thing each."""
