from __future__ import annotations

import tracemalloc

import pytest

from relay.conduct import program
from screening.tuning.examples import mail_of


@pytest.mark.parametrize("field", ["User-Agent", "X-Mailer"])
def test_a_program_is_known_whatever_its_version(field: str) -> None:
    found = {program(mail_of({"headers": {field: name}})) for name in ("Mailer 1.2", "mailer 2.0 (X11)")}
    assert len(found) == 1
    assert found != {""}
    assert program(mail_of({})) == ""


def test_long_names_of_programs_are_not_kept() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(60):
            program(mail_of({"headers": {"User-Agent": f"{number:06d}" * 10_000}}))
        assert tracemalloc.get_traced_memory()[0] - before < 1 << 20
    finally:
        tracemalloc.stop()
