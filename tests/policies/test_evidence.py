from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from policies import ladder as ladders
from policies.ladder import LadderError, evidence, judge, recompute
from policies.rungs import STRICTNESS
from policies.standing import StandingNow
from policies.tally import Tally

if TYPE_CHECKING:
    pass

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHIPPED = ladders.load()
ACTIVE = StandingNow()
KEEP, WARN, THROTTLE, DEACTIVATE, BLOCK, SUSPEND = STRICTNESS


def votes(number: int, of: int, reporters: int = 2) -> dict[str, int]:
    return {"votes": number, "relayed_to_reporters": of, "reporters": reporters}


def stored_case(**changes: Any) -> dict[str, Any]:
    decision = judge(SHIPPED, Tally(**votes(18, 2000)), ACTIVE, NOW)
    return {**json.loads(json.dumps(evidence(SHIPPED, decision, NOW))), **changes}


def test_evidence_holds_everything_a_decision_was_made_from() -> None:
    stored = stored_case()
    numbers = stored.pop("numbers")
    assert (numbers["votes"], numbers["relayed_to_reporters"]) == (18, 2000)
    reason = stored.pop("reason")
    assert reason.startswith("18 complaints of 2000")
    assert stored.pop("step")["when"].startswith("votes >= 5 && (reporters >= 2")
    assert stored == {
        "ladder": SHIPPED.hash,
        "define": {"complaint_rate_999": "lower_bound(votes, relayed_to_reporters, 0.999)"},
        "escalation": ["1h", "6h", "1d"],
        "at": "2026-11-22T12:00:00+00:00",
        "action": "deactivate",
        "until": "2026-11-22T13:00:00+00:00",
        "lifts": "sending comes back at 2026-11-22 13:00 UTC; only what is sent after that counts",
    }


@pytest.mark.parametrize("name", ["votes", "relayed_to_reporters", "reporters", "automatic_returns_30d"])
def test_an_altered_number_shows(name: str) -> None:
    stored = stored_case()
    stored["numbers"][name] += 1
    again = recompute(stored)
    assert (again.reason, again.action.until) != (stored["reason"], NOW + timedelta(hours=1)) or (
        again.numbers["complaint_rate_999"] != stored["numbers"]["complaint_rate_999"]
    )


def test_an_altered_definition_is_computed_anew() -> None:
    stored = stored_case()
    stored["numbers"]["complaint_rate_999"] = 0.9
    assert recompute(stored).numbers["complaint_rate_999"] == pytest.approx(0.00384, abs=1e-6)


def test_an_innocent_number_recomputes_to_keep() -> None:
    stored = stored_case()
    stored["numbers"]["votes"] = 1
    assert recompute(stored).action.action is KEEP


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"at": "yesterday"}, "evidence cannot be read"),
        ({"escalation": []}, "evidence cannot be read"),
        ({"numbers": None}, "evidence cannot be read"),
        ({"numbers": {"votes": 18}}, "evidence has no number relayed_to_reporters"),
        ({"define": {}}, "unknown name 'complaint_rate_999'"),
        ({"step": {"name": "x"}}, "when is missing"),
        ({"step": "x"}, "must be a table"),
    ],
)
def test_evidence_that_is_broken_says_so(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(LadderError) as caught:
        recompute(stored_case(**changes))
    assert fault in str(caught.value)


def test_evidence_without_its_parts_says_so() -> None:
    with pytest.raises(LadderError, match="evidence cannot be read"):
        recompute({})
