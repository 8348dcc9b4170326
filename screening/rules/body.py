"""The shown text and the HTML that carries it."""

from __future__ import annotations
