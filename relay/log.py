"""One JSON line per event on stderr; written in batches, flushed at the latest after 50 ms."""

from __future__ import annotations

import json
import sys
from typing import IO, Any

LEVELS = ("debug", "info", "warning", "error")
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


class Log:
    """Writes lines at or above `level`; control characters leave as JSON escapes (no log injection)."""

    def __init__(self, level: str = "info", stream: IO[str] | None = None) -> None:
        self.level = level
        self._stream = stream
        self._waiting: list[str] = []
        #: set by the daemon to a call that flushes soon; None writes at once
        self.flush_soon: Any = None

    @property
    def level(self) -> str:
        """Return the lowest level that is written."""
        return LEVELS[self._rank]

    @level.setter
    def level(self, level: str) -> None:
        self._rank = LEVELS.index(level)

    def line(self, level: str, fields: dict[str, Any]) -> None:
        """Write one event; `fields` holds no address, subject or secret."""
        if LEVELS.index(level) < self._rank:
            return
        self._waiting.append(_encode({"level": level, **fields}))
        if self.flush_soon is None or level == "error":
            self.flush()
        elif len(self._waiting) == 1:
            self.flush_soon(self.flush)

    def flush(self) -> None:
        """Hand all waiting lines to the stream; a stream that is gone loses lines, never mail."""
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        try:
            stream = self._stream or sys.stderr
            stream.write("\n".join(lines) + "\n")
            stream.flush()
        except (OSError, ValueError):
            return
