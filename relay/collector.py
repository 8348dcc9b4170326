"""When Python looks for garbage in circles: rarely, and not in what stays for the life of the process."""

from __future__ import annotations

import gc

#: New objects between two looks at the young ones (CPython's default is 700: several looks a message, a tenth
#: of its time). Messages leave no circles behind; what other code leaves is a few megabytes by then.
YOUNG = 50_000


def spare() -> None:
    """Keep what exists now (rules, models, tables) out of every later collection, and collect rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
