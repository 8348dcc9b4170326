"""A hash that no password fits costs a verifier what a real one costs."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from relay.passwords import unmatched


def test_no_password_fits_and_the_work_is_the_usual() -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=2)

    made = unmatched(hasher)

    assert not hasher.check_needs_rehash(made), "the same cost as the hasher's own"
    assert len(made) == len(hasher.hash("secret"))
    with pytest.raises(VerifyMismatchError):
        hasher.verify(made, "")
    assert made != unmatched(hasher)
