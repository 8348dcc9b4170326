"""Is anything wrong? One answer in one look: what is well, what needs somebody soon, what needs them now."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from relay import premises
from relay.console.words import ago
from relay.store import backlog, emergency
from relay.values import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from relay.console.desk import Desk
    from relay.premises import Premises
    from relay.store.backlog import Backlog
    from relay.store.emergency import Switch

_SOON, _NOW = timedelta(days=14), timedelta(days=3)
_LITTLE_ROOM, _NO_ROOM = 0.10, 0.03
_OLD_SECONDS = 12 * 3600
#: Families without labels, and those of the outbox by state.
_SAMPLE = re.compile(r'^(gatepost_\w+)(?:\{state="(\w+)"\})? (\S+)$', re.MULTILINE)


class State(StrEnum):
    """How a thing is."""

    WELL = "well"
    SOON = "soon"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is, in words; `path` is the page that shows more, if there is one."""

    what: str
    state: State
    text: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How everything is: the state of the worst, and all, the worst first."""

    state: State
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the findings are made from."""

    ready: bool
    parts: Mapping[str, object]
    #: the node's /metrics: samples by name, and `NAME state` for those of a state
    numbers: Mapping[str, float]
    premises: Premises
    switches: Sequence[Switch]
    backlogs: Sequence[Backlog]


async def facts(desk: Desk, now: datetime) -> Facts:
    """Ask the store, the node's numbers and the machine; StoreError."""
    ready, parts = desk.ready()
    found, switches, backlogs = await asyncio.gather(
        asyncio.to_thread(premises.look, desk.config),
        desk.store.query(lambda tx: emergency.switched_on(tx, now)),
        desk.store.query(backlog.by_server),
    )
    return Facts(ready, parts, numbers(desk.metrics().decode()), found, switches, backlogs)


def numbers(text: str) -> dict[str, float]:
    """Return the plain samples of a page of metrics."""
    return {
        f"{name} {state}" if state else name: float(value) for name, state, value in _SAMPLE.findall(text)
    }


def findings(known: Facts, now: datetime) -> list[Finding]:
    """Return how each thing is, the worst first."""
    found = [
        *_mail(known),
        *_switches(known, now),
        *_processes(known),
        *_waiting(known, now),
        *_certificate(known, now),
        *_rooms(known),
    ]
    order = (State.NOW, State.SOON, State.WELL)
    return sorted(found, key=lambda one: order.index(one.state))


async def health(desk: Desk, now: datetime) -> Health:
    """Return how this node is; StoreError."""
    found = findings(await facts(desk, now), now)
    return Health(found[0].state, found)


def _mail(known: Facts) -> Iterator[Finding]:
    if known.ready:
        yield Finding("Mail", State.WELL, "is taken")
        return
    why = ", ".join(name for name, good in known.parts.items() if good == (name == "draining"))
    yield Finding("Mail", State.NOW, f"is not taken now: {why or 'a part is not ready'}")


def _switches(known: Facts, now: datetime) -> Iterator[Finding]:
    effect = {"brake": "all mail is taken, none delivered", "bypass": "nothing is held or refused"}
    for one in known.switches:
        left = max(int((one.until - now).total_seconds() // 60), 0)
        text = f"is on, {effect[one.name]}; for {left} more minutes, by {one.set_by}: {one.reason}"
        yield Finding(one.name.capitalize(), State.NOW, text)


def _processes(known: Facts) -> Iterator[Finding]:
    deaths, bugs, lost = (
        int(known.numbers.get(f"gatepost_{name}_total", 0))
        for name in ("worker_deaths", "bugs", "journal_rows_lost")
    )
    well = "run"
    if deaths:
        yield Finding(
            "Workers", State.SOON, f"ended unasked, {deaths} since the start: log event worker_died"
        )
        well = ""
    if bugs:
        yield Finding(
            "Program",
            State.SOON,
            f"met {plural(bugs, 'unexpected exception')} since the start: log event bug",
        )
    if lost:
        yield Finding("Journal", State.NOW, f"lost {plural(lost, 'row')} since the start: disk or database")
    if known.numbers.get("gatepost_config_reload_ok", 1) == 0:
        yield Finding(
            "Configuration", State.SOON, "the newest has a fault, the old one is used: gatepost check"
        )
    if well:
        yield Finding("Workers", State.WELL, well)


def _waiting(known: Facts, now: datetime) -> Iterator[Finding]:
    count = {
        name: int(known.numbers.get(f"gatepost_outbox_messages {name}", 0)) for name in ("waiting", "poison")
    }
    oldest = known.numbers.get("gatepost_outbox_oldest_seconds", 0)
    for one in known.backlogs:
        old = (now - one.oldest_at).total_seconds() > _OLD_SECONDS
        text = f"{plural(one.messages, 'message')} not through yet, the oldest came {ago(one.oldest_at, now)}"
        yield Finding(f"Server {one.server}", State.NOW if old else State.SOON, text, "/outbox")
    if count["poison"]:
        yield Finding(
            "Outbox", State.SOON, f"{count['poison']:,} set aside: workers died with them", "/outbox"
        )
    if unscreened := int(known.numbers.get("gatepost_outbox_unscreened_messages", 0)):
        yield Finding(
            "Screening", State.SOON, f"{plural(unscreened, 'message')} waiting to be screened", "/outbox"
        )
    state = State.SOON if oldest > _OLD_SECONDS else State.WELL
    old_text = f", the oldest for {int(oldest // 3600)} h" if oldest >= 3600 else ""
    yield Finding("Outbox", state, f"{plural(count['waiting'], 'message')} waiting{old_text}", "/outbox")


def _certificate(known: Facts, now: datetime) -> Iterator[Finding]:
    ends_at = known.premises.certificate_ends_at
    if ends_at is None:
        yield Finding("Certificate", State.NOW, "cannot be read; the one in use stays until a restart")
        return
    left = ends_at - now
    state = State.NOW if left < _NOW else State.SOON if left < _SOON else State.WELL
    text = f"ends on {ends_at:%Y-%m-%d}" if left > timedelta() else f"ended on {ends_at:%Y-%m-%d}"
    yield Finding("Certificate", state, text)


def _rooms(known: Facts) -> Iterator[Finding]:
    for name, room in known.premises.rooms.items():
        state = (
            State.NOW if room.share < _NO_ROOM else State.SOON if room.share < _LITTLE_ROOM else State.WELL
        )
        yield Finding(f"Disk of the {name}", state, f"{room.share:.0%} free ({room.free_bytes / 1e9:.1f} GB)")
