"""Kills a process group the moment SQLite commits: `python -m tests.service.faults.watcher FILE-shm`.

The shared WAL index counts transactions (offset 8, "iChange" of the file format). It is written when a commit
is durable, and before the committing thread can tell anyone; a process that looks at nothing else sees it
within a microsecond. Reads one process group a line.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from contextlib import suppress
from time import monotonic

_COUNTER = slice(8, 12)
_SECONDS = 3.0


def strike(path: str, group: int) -> None:
    """Wait for a commit, then kill."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 136, prot=mmap.PROT_READ) as index:  # noqa: PTH123
        before, end = index[_COUNTER], monotonic() + _SECONDS
        while index[_COUNTER] == before and monotonic() < end:
            continue
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    for line in sys.stdin:
        strike(sys.argv[1], int(line))
