"""One JSON line per event on stderr; written in batches, flushed at the latest after 50 ms."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from typing import IO, Any

LEVELS = ("debug", "info", "warning", "error")
_RANKS = {level: rank for rank, level in enumerate(LEVELS)}
_ADDRESS = re.compile(r"<?[^\s<>@]{1,256}@[^\s<>@]{1,256}>?")
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


def nameless(words: str) -> str:
    """Return what a server or a rule said as it may be written down: without anybody's address."""
    return _ADDRESS.sub("<address>", words) if "@" in words else words


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

    def wants(self, level: str) -> bool:
        """Return whether lines of `level` are written."""
        return _RANKS[level] >= self._rank

    def line(self, level: str, fields: dict[str, Any]) -> None:
        """Write one event; `fields` holds no address, subject or secret."""
        if not self.wants(level):
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


def frames(error: BaseException) -> str:
    """Return where an exception came through: files, lines and functions, nothing that was said or held."""
    return "".join(
        f"{frame.filename}:{frame.lineno} {frame.name}\n"
        for frame in traceback.extract_tb(error.__traceback__)
    )


class Records(logging.Handler):
    """Writes what libraries and other parts log through the standard library as lines of ours.

    Of an exception it keeps the type and the frames: its text may hold an address or a secret (PR-06).
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises."""
        try:
            fields = {"event": "log", "where": record.name, "what": record.getMessage().partition("\n")[0]}
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                fields["event"] = "bug"
                fields["error"] = type(error).__name__
                fields["traceback"] = frames(error)
            self._log.line("error" if record.levelno >= logging.ERROR else "warning", fields)
        except Exception:  # noqa: BLE001 - a log line is never worth more than what it tells of
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Lose the record: the library's own words would hold its values."""


def take_records(log: Log) -> None:
    """Let the standard library's logging end in `log`, and nowhere else."""
    root = logging.getLogger()
    root.handlers[:] = [Records(log)]
