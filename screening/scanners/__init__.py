"""Checks that ask someone outside; off until configuration names them, I/O handed in."""
