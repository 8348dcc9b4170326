"""Complaints and bounces as send-date cohorts: what was said of a day's mail, divided by that day's mail.

A report comes hours or days after its message; booked on its own day it would be divided by mail that nobody
has read yet. One vote per (message, voter), in whatever order and however often it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from policies.decision import Decision

MONTH = timedelta(days=30)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Voted:
    """One complaint about one message."""

    at: datetime
    account: int
    sent_at: datetime
    message: str
    #: who complained: a recipient's hash, or the reporter where it names no recipient
    voter: str
    reporter: str
    #: True: our token and a listed, authenticated reporter (grade A); False: our token alone (B), for staff
    listed: bool = True
    #: `not-spam`: the voter takes its complaint back
    taken_back: bool = False


@dataclass(frozen=True, slots=True)
class Bounced:
    """One recipient that a verified report called permanently unknown."""

    at: datetime
    account: int
    sent_at: datetime


@dataclass(slots=True)
class Day:
    """What was sent on one day, and what was said of it."""

    relayed: int = 0
    to_reporters: int = 0
    hard_bounces: int = 0
    #: (message, voter) -> reporter
    votes: dict[tuple[str, str], str] = field(default_factory=dict)
    unlisted: set[tuple[str, str]] = field(default_factory=set)
    taken_back: set[tuple[str, str]] = field(default_factory=set)


class Cohorts:
    """One account's mail by the day on which it was sent; only what was sent after `counted_from` counts."""

    __slots__ = ("_days", "_numbers", "_today", "counted_from")

    def __init__(self, counted_from: datetime | None = None) -> None:
        self.counted_from = counted_from
        self._days: dict[date, Day] = {}
        #: the sums as of `_today`; None: to be summed again
        self._numbers: dict[str, int] = {}
        self._today: date | None = None

    def sent(self, at: datetime, relayed: int, to_reporters: int) -> None:
        """Count relayed recipients, and those of them at domains whose reporters tell of complaints."""
        sent_on = at.date()
        day = self._day(sent_on)
        day.relayed += relayed
        day.to_reporters += to_reporters
        if sent_on == self._today:  # the common case: nothing has to be summed again
            for name in ("relayed_30d", "relayed_7d"):
                self._numbers[name] += relayed
            for name in ("relayed_to_reporters", "relayed_to_reporters_7d"):
                self._numbers[name] += to_reporters
        else:
            self._today = None

    def voted(self, vote: Voted) -> None:
        """Count a complaint once; one about mail that no longer counts, or that was taken back, is none."""
        if not self._counts(vote.sent_at):
            return
        day, key = self._day(vote.sent_at.date()), (vote.message, vote.voter)
        self._today = None
        if vote.taken_back:
            day.taken_back.add(key)
        elif vote.listed:
            # the reporter that comes first by name, so that the order of arrival changes nothing
            day.votes[key] = min(vote.reporter, day.votes.get(key, vote.reporter))
        else:
            day.unlisted.add(key)

    def bounced(self, bounce: Bounced) -> None:
        """Count a bounce of mail that still counts."""
        if self._counts(bounce.sent_at):
            self._day(bounce.sent_at.date()).hard_bounces += 1
            self._today = None

    def start_anew(self, now: datetime) -> None:
        """Forget what was sent so far: a reinstatement, an automatic return or a blocked credential."""
        self._days.clear()
        self._today = None
        self.counted_from = now

    def numbers(self, now: datetime) -> dict[str, int]:
        """Return the cohort numbers of a tally."""
        today = now.date()
        if today != self._today:
            for gone in [one for one in self._days if one <= today - MONTH]:
                del self._days[gone]
            self._numbers = self._sums(today)
            self._today = today
        return self._numbers

    def _sums(self, today: date) -> dict[str, int]:
        month = [day for sent_on, day in self._days.items() if sent_on <= today]
        week = [day for sent_on, day in self._days.items() if today - WEEK < sent_on <= today]
        votes, reporters = _votes(month)
        votes_7d, reporters_7d = _votes(week)
        return {
            "votes": votes,
            "relayed_to_reporters": sum(day.to_reporters for day in month),
            "reporters": reporters,
            "votes_7d": votes_7d,
            "relayed_to_reporters_7d": sum(day.to_reporters for day in week),
            "reporters_7d": reporters_7d,
            "grade_b": sum(len(day.unlisted - day.taken_back) for day in month),
            "relayed_7d": sum(day.relayed for day in week),
            "relayed_30d": sum(day.relayed for day in month),
            "busiest_day_30d": max((d.relayed for on, d in self._days.items() if on < today), default=0),
            "hard_bounces": sum(day.hard_bounces for day in month),
        }

    def _day(self, sent_on: date) -> Day:
        day = self._days.get(sent_on)
        if day is None:
            day = self._days[sent_on] = Day()
        return day

    def _counts(self, sent_at: datetime) -> bool:
        return self.counted_from is None or sent_at > self.counted_from


def _votes(days: list[Day]) -> tuple[int, int]:
    """Return the votes that stand, and their distinct reporters."""
    reporters = [
        reporter
        for day in days
        if day.votes
        for key, reporter in day.votes.items()
        if key not in day.taken_back
    ]
    return len(reporters), len(set(reporters))


class Heed(StrEnum):
    """What becomes of one more vote of a reporter."""

    COUNT = "count"
    REVIEW = "review"


#: so many votes of a reporter within an hour always count: a storm about one broken-into account is no flood
LEAST_VOTES_1H = 1_000
#: a reporter that sends more votes within an hour than this is looked at first, whatever is usual
REPORTER_VOTES_1H = 10_000


def heed(reporter_votes_1h: int, usual_votes_1h: float, cap: int | None = None) -> Decision[Heed]:
    """Decide whether a reporter's next vote counts or waits for staff: a stolen key floods.

    Ten times the usual is a flood from LEAST_VOTES_1H on; more than REPORTER_VOTES_1H always is. A `cap` that
    staff set for a reporter holds instead.
    """
    limit = min(max(LEAST_VOTES_1H, int(usual_votes_1h * 10)), REPORTER_VOTES_1H) if cap is None else cap
    numbers = {"votes_1h": reporter_votes_1h, "usual_votes_1h": usual_votes_1h, "limit": limit}
    if reporter_votes_1h <= limit:
        return Decision(Heed.COUNT, "", numbers)
    return Decision(Heed.REVIEW, f"{reporter_votes_1h} votes within an hour, at most {limit} count", numbers)
