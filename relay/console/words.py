"""How values are said on a page: moments, durations, shares, sizes; and the one Jinja environment."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2.runtime import Context

HERE = Path(__file__).parent

#: What each decision means, in the words of the people who ask.
ACTION_WORDS = {
    "deliver": "passed",
    "tag": "passed, marked",
    "hold": "held",
    "refuse": "refused",
    "defer": "put off",
}

#: What came of a message that passed, where it was not simply forwarded.
OUTCOME_WORDS = {
    "queued": "waits in the outbox",
    "refused": "the server refused it",
    "deferred": "the server put it off",
}

#: What each state means for the sender; shown beside the word.
STATE_WORDS = {
    "active": "may send",
    "throttled": "mail is taken, and leaves at a slow pace",
    "deactivated": "sending is off until a set time",
    "suspended": "sending is off until staff reinstate",
    "closed": "gone",
}

#: What a grade proves (DESIGN.md, invariant 5).
GRADE_WORDS = {
    "A": "our token, and a listed reporter that proved who it is: a vote in rates",
    "B": "our token alone: counted for staff, never switches off by itself",
    "C": "no token of ours: for the server's tally and staff",
}

#: What staff may do with waiting mail.
DEED_WORDS = {
    "release": ("Release", "it goes out; standing and suppressed recipients are asked again"),
    "retry": ("Try now", "whatever back-off and breakers say"),
    "let_go": ("Let go", "now, although their senders are throttled or may not send"),
    "bounce": ("Give up, and report", "each sender gets a report of each message"),
    "delete": ("Delete", "its senders are not told"),
    "digest": ("Delete, and say so once", "each account gets one note about all of its messages"),
}

#: Numbers of tallies and evidence, as people say them; what is not here is shown by its name.
NUMBER_WORDS = {
    "votes": "complaints that count, 30 days",
    "relayed_to_reporters": "recipients at the reporters' domains, 30 days",
    "reporters": "reporters among them",
    "votes_7d": "complaints that count, 7 days",
    "relayed_to_reporters_7d": "recipients at the reporters' domains, 7 days",
    "reporters_7d": "reporters among them, 7 days",
    "grade_b": "complaints by token alone (grade B)",
    "relayed_7d": "recipients relayed, 7 days",
    "relayed_30d": "recipients relayed, 30 days",
    "busiest_day_30d": "recipients on the busiest of 30 days",
    "hard_bounces": "recipients that do not exist (hard bounces)",
    "messages_10m": "messages, 10 min",
    "messages_1h": "messages, 1 h",
    "attempts_10m": "recipients asked for, 10 min",
    "attempts_1h": "recipients asked for, 1 h",
    "attempts_24h": "recipients asked for, 24 h",
    "relayed_1h": "recipients relayed, 1 h",
    "relayed_24h": "recipients relayed, 24 h",
    "spam_bodies_10m": "different spam-like bodies, 10 min",
    "spam_bodies_1h": "different spam-like bodies, 1 h",
    "spam_messages_10m": "spam-like messages, 10 min",
    "spam_recipients_10m": "recipients of one spam-like body, 10 min",
    "unknown_recipients_1h": "unknown recipients, 1 h",
    "first_time_recipients_1h": "first-time recipients, 1 h",
    "first_time_recipients_24h": "first-time recipients, 24 h",
    "refusals_1h": "refused for content or sender, 1 h",
    "auth_failures_1h": "wrong passwords, 1 h",
    "networks_24h": "client networks, 24 h",
    "countries_24h": "countries, 24 h",
    "new_networks_24h": "client networks never seen before, 24 h",
    "programs_24h": "mail programs, 24 h",
    "new_programs_24h": "mail programs never seen before, 24 h",
    "accounts": "accounts",
    "accounts_fallen_24h": "accounts switched off, 24 h",
    "state": "standing before",
    "klass": "class of the account",
    "half_open": "on probation after a return",
    "automatic_returns_30d": "automatic returns, 30 days",
    "complaint_rate_95": "complaint rate is surely over (95 %)",
    "complaint_rate_999": "complaint rate is surely over (99.9 %)",
    "bounce_rate_95": "share of unknown recipients is surely over (95 %)",
    "bounce_rate_999": "share of unknown recipients is surely over (99.9 %)",
}


def ago(moment: datetime | None, now: datetime) -> str:
    """Say how long ago, or in how long, in one unit: `3 min ago`, `in 5 h`."""
    if moment is None:
        return ""
    seconds = round((now - moment).total_seconds())
    text = duration(timedelta(seconds=abs(seconds)))
    if abs(seconds) < 5:
        return "just now"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def duration(span: timedelta) -> str:
    """Say a length of time in the largest unit that fits at least twice, or once exactly."""
    seconds = round(span.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}"
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def stamp(moment: datetime | None) -> str:
    """Say a moment to the second, UTC."""
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(moment: datetime | None) -> str:
    """Return a moment as RFC 3339."""
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def size(count: int) -> str:
    """Say a number of bytes."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"


def share(value: float) -> str:
    """Say a rate (0..1) in per cent, fine enough for complaint rates."""
    percent = value * 100
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2f} %"


def thousands(value: object) -> str:
    """Say a number with thin spaces between thousands; anything else as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def number_name(name: str) -> str:
    """Say what a number of a tally or of evidence is."""
    return NUMBER_WORDS.get(name, name.replace("_", " "))


def number_value(name: str, value: object) -> str:
    """Say the value of a named number: rates and bounds in per cent."""
    if isinstance(value, float) and any(word in name for word in ("rate", "bound", "confidence", "share")):
        return share(value)
    return thousands(value)


def pretty(value: object) -> str:
    """Return JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def versions() -> dict[str, str]:
    """Return a short hash of each static file, so that a changed one is fetched at once."""
    static = HERE / "static"
    files = [path for path in static.rglob("*") if path.is_file()]
    return {path.relative_to(static).as_posix(): sha256(path.read_bytes()).hexdigest()[:8] for path in files}


@pass_context
def _ago(context: Context, moment: datetime | None) -> str:
    """Say how long ago, by the page's own moment."""
    return ago(moment, context["now"])


@cache
def environment() -> Environment:
    """Return the environment of all templates: escaping always on, an unknown name is an error.

    Every page is given `now`.
    """
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known = versions()
    made.filters |= {
        "ago": _ago,
        "duration": duration,
        "iso": iso,
        "number_name": number_name,
        "pretty": pretty,
        "share": share,
        "size": size,
        "stamp": stamp,
        "thousands": thousands,
    }
    words: Mapping[str, Any] = {
        "ACTION": ACTION_WORDS,
        "OUTCOME": OUTCOME_WORDS,
        "DEED": DEED_WORDS,
        "GRADE": GRADE_WORDS,
        "STATE": STATE_WORDS,
        "number_value": number_value,
        "static": lambda name: f"/static/{name}?v={known.get(name, '')}",
    }
    made.globals |= words
    return made
