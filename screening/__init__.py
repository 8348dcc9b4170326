"""Scores a message; knows no socket, account or database."""
