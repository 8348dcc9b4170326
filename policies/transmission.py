"""The transmission policy: numbered clauses that replies, notices and evidence cite with their version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar

from policies import document
from policies.document import Table
from policies.rates import Limit

SHIPPED = Path(__file__).with_name("transmission.toml")

#: every class of account
CLASSES = ("person", "app", "bulk", "list")
#: an account is new for so long
LEARNING = timedelta(days=14)

_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_S = TypeVar("_S", bound=StrEnum)
_KEYS = ("number", "name", "action", "title", "text", "limit", "classes", "kinds")
_WORDS = ("limit", "classes", "kinds")


class TransmissionError(Exception):
    """A policy that cannot be used; `faults` is everything that is wrong with it."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Check(StrEnum):
    """Every check that a clause may be about."""

    SENDER_IDENTITY = "sender_identity"
    TLS = "tls"
    MESSAGE_RATE = "message_rate"
    RECIPIENT_RATE = "recipient_rate"
    SERVER_RECIPIENT_RATE = "server_recipient_rate"
    CUSTOMER_RECIPIENT_RATE = "customer_recipient_rate"
    RECIPIENTS = "recipients"
    FIRST_TIME_NEW = "first_time_new"
    FIRST_TIME = "first_time"
    SIZE = "size"
    ATTACHMENT_KINDS = "attachment_kinds"
    ONE_CLICK = "one_click"
    COMPLAINTS = "complaints"
    SPAM = "spam"


class Enforce(StrEnum):
    """What a breach of a clause leads to; later members are stricter."""

    OFF = "off"
    FLAG = "flag"
    WAIT = "wait"
    REFUSE = "refuse"


_RATES = {
    Check.MESSAGE_RATE,
    Check.RECIPIENT_RATE,
    Check.SERVER_RECIPIENT_RATE,
    Check.CUSTOMER_RECIPIENT_RATE,
    Check.FIRST_TIME_NEW,
    Check.FIRST_TIME,
}
#: what `breaches` looks for; the others are rates, or what the ladder judges
_OF_MESSAGE = {
    Check.SENDER_IDENTITY,
    Check.TLS,
    Check.RECIPIENTS,
    Check.SIZE,
    Check.ATTACHMENT_KINDS,
    Check.ONE_CLICK,
}
_COUNTS = {Check.RECIPIENTS, Check.ONE_CLICK}


@dataclass(frozen=True, slots=True)
class Clause:
    """One numbered clause."""

    number: str
    check: Check
    action: Enforce
    title: str
    text: str
    #: a count or a size in bytes; None where the clause has a rate or no limit
    most: int | None = None
    rate: Limit | None = None
    classes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def binds(self, klass: str) -> bool:
        """Return whether the clause is checked for this class of account."""
        return self.action is not Enforce.OFF and (not self.classes or klass in self.classes)


@dataclass(frozen=True, slots=True)
class Breach:
    """One clause that a message broke."""

    clause: Clause
    #: for the sender: what the clause says, and its citation
    reason: str
    #: "TP 2.5 (2026-11)"
    citation: str


@dataclass(frozen=True, slots=True)
class Message:
    """What the policy looks at in one message."""

    klass: str
    recipients: int = 1
    size_bytes: int = 0
    tls: bool = True
    #: extensions or magic kinds of its attachments, without the dot, small letters
    attachment_kinds: tuple[str, ...] = ()
    #: carries List-Unsubscribe and List-Unsubscribe-Post
    one_click: bool = False
    #: recipients of its account in the last 24 hours, this message's included
    recipients_24h: int = 0
    #: what the identity check found wrong, or ""
    identity_fault: str = ""


@dataclass(frozen=True, slots=True)
class Transmission:
    """Every clause, in the order of the file."""

    version: str
    clauses: tuple[Clause, ...]
    _by_check: dict[Check, Clause] = field(init=False, repr=False, compare=False)
    #: what a message of each class is looked at for
    _by_class: dict[str, tuple[Clause, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Keep what every message asks for."""
        object.__setattr__(self, "_by_check", {one.check: one for one in reversed(self.clauses)})

    def clause(self, check: Check) -> Clause | None:
        """Return the clause about this check, or None where the policy has none."""
        return self._by_check.get(check)

    def _of_message(self, klass: str) -> tuple[Clause, ...]:
        found = self._by_class.get(klass)
        if found is None:
            bound = (one for one in self.clauses if one.check in _OF_MESSAGE and one.binds(klass))
            found = self._by_class[klass] = tuple(bound)
        return found

    def cite(self, check: Check) -> str:
        """Return how replies, notices and evidence name a clause: `TP 2.5 (2026-11)`, or ""."""
        clause = self.clause(check)
        return f"TP {clause.number} ({self.version})" if clause else ""

    def rate(self, check: Check, klass: str) -> Limit | None:
        """Return the rate that binds this class of account, or None."""
        clause = self.clause(check)
        return clause.rate if clause and clause.binds(klass) else None

    def first_time(self, klass: str, age: timedelta) -> Limit | None:
        """Return how many recipients an account of that age may write to for the first time, or None.

        Reserved at RCPT, across all sessions, and refunded for a recipient that was not relayed.
        """
        return self.rate(Check.FIRST_TIME_NEW if age < LEARNING else Check.FIRST_TIME, klass)

    def most_recipients(self, klass: str) -> int | None:
        """Return how many recipients one message of this class may have, or None without such a clause."""
        clause = self.clause(Check.RECIPIENTS)
        return clause.most if clause and clause.binds(klass) else None

    def breaches(self, message: Message) -> tuple[Breach, ...]:
        """Return every clause that a message breaks, the strictest first; rates have their buckets."""
        found = [
            Breach(one, f"{_why(one, message)} [{self.cite(one.check)}]", self.cite(one.check))
            for one in self._of_message(message.klass)
            if _broken(one, message)
        ]
        if not found:
            return ()
        order = list(Enforce)
        return tuple(sorted(found, key=lambda one: -order.index(one.clause.action)))


def load(path: Path | None = None) -> Transmission:
    """Read a policy file, the shipped one for None; TransmissionError with every fault at once."""
    source = path or SHIPPED
    try:
        return parse(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise TransmissionError((f"{source}: cannot be read: {why}",)) from None


def parse(text: str) -> Transmission:
    """Read a policy; TransmissionError with every fault at once."""
    tables, broken = document.parse(text)
    if broken:
        raise TransmissionError(broken)
    faults: list[str] = []
    top = Table("transmission", tables, faults)
    version = top.take("version", document.words, "")
    given = top.take("clause", document.tables, list[object]())
    top.end(("version", "clause"))
    clauses = tuple(_clauses(given, faults))
    for what in ("number", "check"):
        values = [getattr(one, what) for one in clauses]
        faults.extend(
            f"clause {one}: is there twice" for one in dict.fromkeys(values) if values.count(one) > 1
        )
    if faults:
        raise TransmissionError(tuple(faults))
    return Transmission(version, clauses)


def say(clause: Clause) -> str:
    """Return the clause's text with its values put in."""
    limit = _spell(clause) if clause.rate or clause.most is not None else ""
    values = {"limit": limit, "classes": " and ".join(clause.classes), "kinds": ", ".join(clause.kinds)}
    return clause.text.format_map(values)


def page(policy: Transmission) -> str:
    """Return the policy as a Markdown page for senders."""
    lines = ["# What you agree to when you send", "", f"Version {policy.version}.", ""]
    for one in policy.clauses:
        state = " *(not in force)*" if one.action is Enforce.OFF else ""
        lines += [f"**{one.number} {one.title}.**{state} {say(one)}", ""]
    return "\n".join(lines)


def _why(clause: Clause, message: Message) -> str:
    """Return what to tell the sender: what exactly is wrong where a check says so, else the clause."""
    return message.identity_fault if clause.check is Check.SENDER_IDENTITY else say(clause)


def _broken(clause: Clause, message: Message) -> bool:
    match clause.check:
        case Check.SENDER_IDENTITY:
            return bool(message.identity_fault)
        case Check.TLS:
            return not message.tls
        case Check.RECIPIENTS:
            return message.recipients > _most(clause)
        case Check.SIZE:
            return message.size_bytes > _most(clause)
        case Check.ATTACHMENT_KINDS:
            return not set(clause.kinds).isdisjoint(message.attachment_kinds)
        case Check.ONE_CLICK:
            return not message.one_click and message.recipients_24h >= _most(clause)
    return False  # rates, and what the ladder judges


def _most(clause: Clause) -> int:
    return clause.most or 0


def _clauses(given: Iterable[object], faults: list[str]) -> Iterator[Clause]:
    nothing: tuple[str, ...] = ()
    for place, values in enumerate(given, 1):
        label = values.get("number") if isinstance(values, Mapping) else None
        table = Table(f"clause {label}" if label else f"clause number {place}", values, faults)
        before = len(faults)
        number = table.take("number", _number, "")
        check = table.take("name", partial(_one_of, Check), Check.SPAM)
        action = table.take("action", partial(_one_of, Enforce), Enforce.OFF)
        title = table.take("title", document.words, "")
        text = table.take("text", _text, "")
        rate, most = None, None
        if check in _RATES:
            rate = table.take("limit", partial(_rate, title), None)
        elif check in _COUNTS:
            most = table.take("limit", _count, 0)
        elif check is Check.SIZE:
            most = table.take("limit", _size, 0)
        classes = table.take_if("classes", _classes, nothing)
        kinds = table.take("kinds", _kinds, nothing) if check is Check.ATTACHMENT_KINDS else nothing
        table.end(_KEYS)
        if len(faults) == before:
            yield Clause(number, check, action, title, text, most, rate, classes, kinds)


def _number(given: object) -> str:
    if not isinstance(given, str) or not re.fullmatch(r"[1-9]\d?\.[1-9]\d?", given):
        raise ValueError('must be a text such as "2.5"')
    return given


def _one_of(allowed: type[_S], given: object) -> _S:
    try:
        return allowed(str(given))
    except ValueError:
        names = [str(one) for one in allowed]
        near = document.did_you_mean(str(given), names)
        raise ValueError(f"must be one of {', '.join(names)}{near}") from None


def _text(given: object) -> str:
    text = document.words(given)
    try:
        text.format_map(dict.fromkeys(_WORDS, ""))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ValueError("may have {limit}, {classes} and {kinds} in it, and no other braces") from None
    return text


def _rate(name: str, given: object) -> Limit | None:
    match = re.fullmatch(r"([1-9]\d{0,9})/(\w+)", given) if isinstance(given, str) else None
    if not match:
        raise ValueError('must be so much in so long, such as "1000/1h"')
    return Limit(int(match[1]), document.duration(match[2]), name)


def _count(given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ValueError("must be a number from 1 on")
    return given


def _size(given: object) -> int:
    match = re.fullmatch(r"([1-9]\d{0,9}) ?(B|KiB|MiB|GiB)", given) if isinstance(given, str) else None
    if not match:
        raise ValueError('must be a size such as "25MiB"')
    return int(match[1]) * _SIZES[match[2]]


def _classes(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or not all(one in CLASSES for one in given):
        raise ValueError(f"must be a list of some of {', '.join(CLASSES)}")
    return tuple(given)


def _kinds(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) and one.isalnum() for one in given):
        raise ValueError('must be a list of extensions such as ["exe", "scr"]')
    return tuple(one.lower() for one in given)


def _spell(clause: Clause) -> str:
    if clause.rate:
        return f"{clause.rate.amount:,} in {document.spell(clause.rate.per)}"
    most = clause.most or 0
    if clause.check is not Check.SIZE:
        return f"{most:,}"
    unit = next(unit for unit, size in reversed(_SIZES.items()) if most % size == 0)
    return f"{most // _SIZES[unit]} {unit}"
