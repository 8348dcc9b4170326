from __future__ import annotations

from pathlib import Path

from screening.ruleset import Ruleset
from screening.tuning.document import page

RULES = Path(__file__).parents[3] / "screening" / "RULES.md"


def test_the_page_of_rules_is_fresh(shipped: Ruleset) -> None:
    assert RULES.read_text(encoding="utf-8") == page(shipped), (
        "run: python -m screening.tuning.document > screening/RULES.md"
    )
