"""Decides from numbers; `now` is always an argument."""
