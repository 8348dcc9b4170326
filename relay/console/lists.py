"""Models of the API's short lists: switches that are on, reporters, decisions that wait for staff."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from relay.console.shapes import Answer, Question


class SwitchLine(Answer):
    """One emergency switch that is on."""

    name: str
    since: datetime
    until: datetime
    set_by: str
    reason: str


class Switches(Answer):
    """The emergency switches that are on."""

    switches: list[SwitchLine]


class ReporterLine(Answer):
    """Who may report: how it proves itself, for which recipient domains it speaks, how far it is believed."""

    domain: str
    covers: list[str]
    key: Annotated[str, Field(description="pinned, or DNS")]
    trust: Annotated[str, Field(description="full, or watch: its complaints are grade B")]
    cap: Annotated[int | None, Field(description="votes an hour; null: ten times its usual")]
    added_at: datetime


class Reporters(Answer):
    """All listed reporters by domain."""

    reporters: list[ReporterLine]


class HeldBackLine(Answer):
    """What policy would have done to an account, and why it was left to staff."""

    case_id: str
    at: datetime
    login: str
    standing: str
    wanted: Annotated[str, Field(description="deactivated or suspended")]
    reason: str
    held_back: str


class HeldBack(Answer):
    """Decisions that the circuit breaker left to staff."""

    decisions: list[HeldBackLine]


class HeldBackWish(Question):
    """What is to become of decisions that were held back."""

    deed: Literal["confirm", "dismiss", "reinstate"]
    cases: Annotated[list[str], Field(min_length=1, max_length=500)]
    reason: Annotated[str, Field(min_length=3, max_length=300)]


class Counted(Answer):
    """To how many it was done."""

    done: int
