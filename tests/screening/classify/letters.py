"""Letters made up from a seed: two kinds that differ by their words, as training needs them."""

from __future__ import annotations

import random

from screening.classify.training import mail_of
from screening.mail import Mail

_COMMON = ["the", "a", "of", "and", "to", "in", "is", "it", "for", "on", "with", "this", "that", "as", "by"]
_HAM = ["meeting", "patch", "kernel", "driver", "review", "minutes", "agenda", "compile", "branch", "lunch"]
_SPAM = ["winner", "claim", "prize", "casino", "bonus", "pills", "cheap", "offer", "wire", "urgent"]


def letter(number: int, *, spam: bool, seed: int = 0) -> Mail:
    """Return the letter of this number; the same each time."""
    chance = random.Random(f"{seed} {number} {spam}")  # noqa: S311 - repeatable, not secret
    own = _SPAM if spam else _HAM
    words = (
        chance.choices(_COMMON, k=40)
        + chance.choices(own, k=12)
        + [f"w{chance.randrange(2000)}" for _ in "xxxx"]
    )
    chance.shuffle(words)
    subject = " ".join([*chance.choices(own, k=2), f"n{chance.randrange(500)}"])
    sender = f"From: Some One <s{number}@sender{number % 17}.example>\r\nTo: you@there.example\r\n"
    return mail_of(f"{sender}Subject: {subject}\r\n\r\n{' '.join(words)}\r\n".encode())


def letters(count: int, *, seed: int = 0) -> list[tuple[Mail, bool]]:
    """Return `count` letters of each kind."""
    return [(letter(number, spam=spam, seed=seed), spam) for spam in (False, True) for number in range(count)]
