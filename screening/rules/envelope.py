"""The envelope against the message."""

from __future__ import annotations
