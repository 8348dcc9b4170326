"""Lessons that wait: what complaints teach is noted at once and learned together, a little later.

Whoever hears a complaint appends an example (places in the table, no text); `study` learns what has been
noted. What was learned before, by staff above all, stays as it is: a complaint only adds.
"""

from __future__ import annotations

import fcntl
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from screening.classify import examples, training
from screening.classify.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screening.classify.solve import Example
    from screening.classify.training import Learned

#: About 4,000 lessons wait at most; what comes beyond is not learned.
MOST_BYTES = 4 << 20


def note(path: Path, lesson: Example) -> bool:
    """Note a lesson for the model at `path`; return whether there was room. OSError."""
    with _opened(path) as file:
        if file.seek(0, 2) >= MOST_BYTES:
            return False
        file.write(examples.record(lesson))
        return True


def waiting(path: Path) -> bool:
    """Return whether there is something to study."""
    try:
        return _place(path).stat().st_size > 0
    except OSError:
        return False


def study(path: Path) -> Learned | None:
    """Learn what was noted for the model at `path`; None if nothing waits. ModelError, OSError.

    The notes go when the model is written: after a crash they are learned again, which changes nothing.
    """
    if not waiting(path):
        return None
    with _opened(path) as file:
        content = file.read(MOST_BYTES + (1 << 20))
    found = {lesson.key: lesson for lesson in examples.records(content)}
    learned = training.add(path, found.values())
    with _opened(path) as file:
        file.seek(len(content))
        rest = file.read()
        file.seek(0)
        file.truncate()
        file.write(rest)
    return learned


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    place = _place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def _place(path: Path) -> Path:
    return path.with_name(path.name + ".lessons")


def main(path: Path) -> int:
    """Study for the model at `path`, in a process of its own: `-m screening.classify.lessons MODEL`."""
    try:
        learned = study(path)
    except (ModelError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if learned is not None:
        sys.stdout.write(f"{learned.new} new; the model {learned.identity} knows {learned.spam} spam\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
