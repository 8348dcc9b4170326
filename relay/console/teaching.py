"""Teaching the classifier from the held page: what staff let go is good, what they delete is spam."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay import screens
from relay.outbox import hold
from relay.store import audit
from screening.classify import training
from screening.classify.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relay.console.desk import Desk

#: What a deed says of the mail that it is done to; others teach nothing.
KINDS = {"release": "ham", "delete": "spam", "digest": "spam"}
#: So many messages of one click are learned: the model is trained anew with all that it knows.
MOST = 200


async def teach(desk: Desk, deed: hold.Deed, kind: str, bodies: dict[str, bytes]) -> bool:
    """Learn messages as spam or ham, on record; every process takes the model up within a second.

    Hashed features are kept, no text. False where the model cannot be written.
    """
    if not bodies:
        return True
    path = screens.model_path(desk.config)
    try:
        await asyncio.to_thread(_learn, path, list(bodies.values()), spam=kind == "spam")
    except (ModelError, OSError):
        return False
    details = {"messages": list(bodies), "as": kind}
    what = f"message {next(iter(bodies))}" if len(bodies) == 1 else f"{len(bodies)} messages"
    await desk.store.write(
        lambda tx: audit.append(tx, deed.now, deed.who, "classifier.learn", what, deed.reason, details)
    )
    return True


def _learn(path: Path, bodies: Sequence[bytes], *, spam: bool) -> None:
    training.learn(path, ((training.mail_of(body), spam) for body in bodies))
