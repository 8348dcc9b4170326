"""How unlike itself an account behaves: what is new to it in one message, from 0 to 1.

Novelty says nothing against anybody: people travel, buy new phones and grow. It weighs only together with
content (`compromise`), and is silent while an account is young.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

#: Younger accounts have no habits yet.
YOUNG = timedelta(days=14)
#: Nor have those that hardly send.
LEAST_DAYS, LEAST_MESSAGES = 5, 20
#: What was first seen within this time is still new.
SETTLES = timedelta(hours=24)
#: Whoever comes from so many networks travels: a new one says little.
MANY_NETWORKS = 20
#: An hour of the day (with its neighbours) in which less than this share of mail was sent is unusual.
RARE_HOUR = 0.01
HOURS_TELL_FROM = 100
#: So many times the busiest day, or the largest message, is unusual; growth is slower than that.
GROWTH = 3.0
LEAST_VOLUME, LEAST_RECIPIENTS = 50, 10
#: What novelty can add at most (points), and from which content and novelty on it adds anything.
MOST_POINTS, LEAST_CONTENT, LEAST_NOVELTY = 4.0, 1.0, 0.3


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of an account: counts and hashes, no address and no word of any message."""

    #: when it first sent, as far as is known
    since: datetime | None = None
    days: int = 0
    #: messages by hour of the day (UTC)
    hours: Sequence[int] = (0,) * 24
    #: when each client network, and each mail program (hashed name), was first seen
    networks: Mapping[str, datetime] = field(default_factory=dict)
    programs: Mapping[str, datetime] = field(default_factory=dict)
    #: recipients of the busiest day, and of the largest message of late
    busiest_day: int = 0
    largest: int = 0

    @property
    def messages(self) -> int:
        """Messages that it sent."""
        return sum(self.hours)


@dataclass(frozen=True, slots=True)
class Act:
    """What one message shows of its sender."""

    at: datetime
    network: str
    program: str
    recipients: int
    #: recipients of this day, this message's included
    today: int = 0


@dataclass(frozen=True, slots=True)
class Novelty:
    """How new (0 to 1), what is new in words, and why nothing is said at all."""

    score: float = 0.0
    reasons: tuple[str, ...] = ()
    abstains: str = ""


def abstains(profile: Profile, now: datetime) -> str:
    """Return why nothing can be said of an account yet, "" where there is enough."""
    if profile.since is None or now - profile.since < YOUNG:
        return f"known for less than {YOUNG.days} days"
    if profile.days < LEAST_DAYS or profile.messages < LEAST_MESSAGES:
        return f"fewer than {LEAST_MESSAGES} messages on {LEAST_DAYS} days"
    return ""


def novelty(profile: Profile, act: Act) -> Novelty:
    """Return how unlike the account a message is; each sign takes its share of what is left to doubt."""
    if why := abstains(profile, act.at):
        return Novelty(abstains=why)
    usual, reasons = 1.0, []
    for share, reason in _signs(profile, act):
        usual *= 1.0 - share
        reasons.append(reason)
    return Novelty(round(1.0 - usual, 3), tuple(reasons))


def _signs(profile: Profile, act: Act) -> list[tuple[float, str]]:
    signs: list[tuple[float, str]] = []
    if act.network and _new(profile.networks, act.network, act.at):
        signs.append((0.2 if len(profile.networks) >= MANY_NETWORKS else 0.5, "a network new to it"))
    if act.program and profile.programs and _new(profile.programs, act.program, act.at):
        signs.append((0.4, "a mail program new to it"))
    if _rare_hour(profile, act.at.hour):
        signs.append((0.3, f"never at {act.at.hour:02d} h UTC"))
    if act.today > max(GROWTH * profile.busiest_day, LEAST_VOLUME):
        signs.append((0.4, f"{act.today} recipients today, {profile.busiest_day} on its busiest day"))
    if act.recipients > max(GROWTH * profile.largest, LEAST_RECIPIENTS):
        signs.append((0.4, f"{act.recipients} recipients at once, {profile.largest} before"))
    return signs


def _new(known: Mapping[str, datetime], name: str, now: datetime) -> bool:
    first = known.get(name)
    return first is None or now - first < SETTLES


def _rare_hour(profile: Profile, hour: int) -> bool:
    if profile.messages < HOURS_TELL_FROM:
        return False
    near = sum(profile.hours[(hour + step) % 24] for step in (-1, 0, 1))
    return near < RARE_HOUR * profile.messages


def compromise(content: float, found: Novelty) -> float:
    """Return the points that novelty adds to a message's own: content times novelty, within bounds."""
    if content < LEAST_CONTENT or found.score < LEAST_NOVELTY:
        return 0.0
    return round(min(MOST_POINTS, content * found.score), 2)
