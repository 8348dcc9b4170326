"""Tuning without fear: examples, replay of past traffic, and how good each rule is."""
