"""What a ladder would have done: the same ladder, run over the history of what happened.

Pure: events in, outcomes out. `gatepost policy replay` reads the events from the store; the benches make them
up. A history holds what the old ladder let through: mail that the new one would have stopped is taken out of
it, but what its sender would have done instead cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from policies.behaviour import Behaviour, Sent
from policies.complaints import Bounced, Cohorts, Voted
from policies.decision import Decision, Number
from policies.ladder import Ladder, Step, judge_numbers
from policies.standing import Move, State, after, half_open, returned, returns_within
from policies.tally import Tally


@dataclass(frozen=True, slots=True)
class Moved:
    """A change of standing that really happened."""

    at: datetime
    account: int
    state: str
    until: datetime | None = None
    reason: str = ""
    #: `policy`, or the name of a member of staff
    set_by: str = "policy"


_NONE: dict[str, Number] = dict(Tally().numbers())

Event = Sent | Voted | Bounced | Moved


@dataclass(frozen=True, slots=True)
class Change:
    """A standing, or a warning, that the ladder would have given."""

    at: datetime
    before: State
    state: State
    until: datetime | None
    decision: Decision[Step]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One account: what the ladder would have done and what was done."""

    account: int
    would: tuple[Change, ...]
    really: tuple[Moved, ...]
    #: messages of the history that would not have been taken
    stopped_messages: int


@dataclass(slots=True)
class Subject:
    """One account on its way through its history."""

    klass: str = "app"
    state: State = State.ACTIVE
    until: datetime | None = None
    returns: list[datetime] = field(default_factory=list)
    blocked: bool = False
    told: set[str] = field(default_factory=set)
    stopped_messages: int = 0
    behaviour: Behaviour = field(default_factory=Behaviour)
    cohorts: Cohorts = field(default_factory=Cohorts)

    def take(self, event: Event) -> None:
        """Count one event; events come in the order of their time."""
        self._wake(event.at)
        match event:
            case Sent():
                self._sent(event)
            case Voted():
                self.cohorts.voted(event)
            case Bounced():
                self.cohorts.bounced(event)
            case Moved(set_by="policy"):
                pass  # what the old ladder did is what is being asked about
            case _:
                self.state, self.until = State(event.state), event.until
                if self.state is State.ACTIVE:
                    self._start_anew(event.at)

    def judge(self, ladder: Ladder, now: datetime) -> Change | None:
        """Ask the ladder, set what it says and return the change; None where nothing changes."""
        if self.state in (State.SUSPENDED, State.CLOSED):
            return None
        numbers = {**_NONE, **self.cohorts.numbers(now), **self.behaviour.numbers(now), **self._standing(now)}
        decision = judge_numbers(ladder, numbers, now)
        if decision is None:
            return None
        step, before = decision.action, self.state
        target = after(before, step.action, now, step.duration)
        news = step.action is Move.WARN and step.name not in self.told and before.may_send
        if target is None and not news and not step.blocks_credential:
            return None
        self.told.add(step.name)
        if target is not None:
            self.state, self.until = target.state, target.until
        if step.blocks_credential:
            self._start_anew(now)
            self.blocked = True
        return Change(now, before, self.state, self.until, decision)

    def _sent(self, sent: Sent) -> None:
        if not self.state.may_send or (self.blocked and sent.new_network):
            self.stopped_messages += 1
            return
        self.behaviour.add(sent)
        self.cohorts.sent(sent.at, sent.relayed, sent.to_reporters)

    def _standing(self, now: datetime) -> dict[str, Number]:
        return {
            "state": self.state.value,
            "automatic_returns_30d": returns_within(self.returns, now),
            "klass": self.klass,
            "half_open": bool(self.returns) and half_open(self.returns[-1], now),
            "credential_blocked": self.blocked,
        }

    def _wake(self, now: datetime) -> None:
        """End a timed standing whose time has come."""
        if self.until is None or returned(self.state, self.until, now) is None:
            return
        ended, was = self.until, self.state
        self.state, self.until = State.ACTIVE, None
        if was is State.DEACTIVATED:
            self.returns.append(ended)
        if was is not State.THROTTLED:
            self._start_anew(ended)

    def _start_anew(self, now: datetime) -> None:
        self.blocked = False
        self.told.clear()
        self.behaviour = Behaviour()
        self.cohorts.start_anew(now)


def replay(
    ladder: Ladder, events: Iterable[Event], klasses: Mapping[int, str] | None = None
) -> list[Outcome]:
    """Run a ladder over events in the order of their time; one outcome per account that moved or would have.

    Every event is judged, so that a change has the moment at which it would have come.
    """
    known = klasses or {}
    subjects: dict[int, Subject] = {}
    would: dict[int, list[Change]] = {}
    really: dict[int, list[Moved]] = {}
    for event in events:
        subject = subjects.get(event.account)
        if subject is None:
            subject = subjects[event.account] = Subject(known.get(event.account, "app"))
        subject.take(event)
        if isinstance(event, Moved):
            really.setdefault(event.account, []).append(event)
        if change := subject.judge(ladder, event.at):
            would.setdefault(event.account, []).append(change)
    return [
        Outcome(
            account,
            tuple(would.get(account, ())),
            tuple(really.get(account, ())),
            subjects[account].stopped_messages,
        )
        for account in sorted(would.keys() | really.keys())
    ]
