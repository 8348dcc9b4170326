"""What the gate gives, takes and gives back, without a network."""

from __future__ import annotations

import dataclasses
import io
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from policies import transmission
from relay import clock
from relay.conduct import Conduct
from relay.config import Config
from relay.gate import Gate
from relay.keyring import Key, Keyring
from relay.log import Log
from relay.metrics import Metrics
from relay.model import AccountClass, Level, Mode, Standing, State
from relay.outbox.parcel import Why
from relay.store import decisions
from relay.store.correspondents import Correspondents
from relay.store.emergency import Name, Switch, Switches
from screening.mail import Envelope, Mail
from tests.relay.store.people import add_account, add_customer

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Account
    from relay.store.engine import Store

RING = Keyring([Key(1, b"k" * 32)])
OWN = transmission.parse(
    transmission.SHIPPED.read_text()
    .replace('action = "off"\nlimit = "1000/1h"', 'action = "wait"\nlimit = "3/1h"')
    .replace('action = "off"\nlimit = "5000/24h"', 'action = "refuse"\nlimit = "10/24h"')
)


class Directory:
    """Knows one account, as it is set."""

    def __init__(self, account: Account) -> None:
        self.now = account

    async def account(self, _login: str) -> Account:
        return self.now

    def peek(self, _login: str) -> Account:
        return self.now


class Transaction:
    """As much of a transaction as the gate looks at."""

    def __init__(self, account: Account, *, may_wait: bool = True) -> None:
        self.account = account
        self.recipients: list[Any] = []
        self.may_wait = may_wait
        self.waits: Why | None = None
        self.note = ""
        self.taken: Any = None
        self.relayed = False
        self.upstream = self

    async def abandon(self) -> None:
        return


@pytest.fixture
def account(store: Store) -> Account:
    with store.begin() as tx:
        add_customer(tx)
        made = add_account(tx)
    return dataclasses.replace(made, created_at=clock.now() - timedelta(days=1))


@pytest.fixture
def gate_of(store: Store) -> Callable[..., Gate]:
    def make(account: Account, policy: transmission.Transmission = OWN, **config: Any) -> Gate:
        metrics = Metrics(Log("info", io.StringIO()))
        known = Correspondents(store)
        pipeline: Any = SimpleNamespace(store=store, keyring=RING, metrics=metrics, correspondents=known)
        directory: Any = Directory(account)
        return Gate(Config.model_validate(config), policy, directory, pipeline, Switches())

    return make


async def ask(gate: Gate, transaction: Transaction, recipient: str = "ben@world.example") -> str:
    given: Any = transaction
    if reply := await gate.admit(given, (recipient,)):
        return f"{reply.code} {reply.text}"
    if reply := await gate.take(given, recipient):
        return f"{reply.code} {reply.text}"
    transaction.recipients.append(SimpleNamespace(recipient=recipient))
    return "250"


async def test_a_message_takes_one_and_each_recipient_one(
    account: Account, gate_of: Callable[..., Gate], store: Store
) -> None:
    gate = gate_of(account)
    for number in range(3):
        open_one: Any = Transaction(account)
        assert [await ask(gate, open_one), await ask(gate, open_one, "x@world.example")] == ["250", "250"]
        open_one.relayed = number < 2
        gate.ended(open_one)
    last: Any = Transaction(account)
    assert await ask(gate, last) == "250"  # the third message gave everything back
    gate.refused(last)
    last.relayed = True
    gate.ended(last)
    late = await ask(gate, Transaction(account))
    assert late.startswith("450 ")
    assert "3 in 1h" in late
    assert "It has room again in" in late
    await store.flush()
    with store.read() as tx:
        steps = [one.step for one in decisions.timeline(tx, Level.ACCOUNT, account.id)]
    assert "message_rate 100 %" in steps


async def test_what_can_never_be_is_refused_for_good(account: Account, gate_of: Callable[..., Gate]) -> None:
    gate, one = gate_of(account), Transaction(account)
    answers = [await ask(gate, one, f"user{number}@world.example") for number in range(11)]
    assert answers[:10] == ["250"] * 10
    assert answers[10].startswith("550 ")
    assert answers[10].endswith("[TP 2.2 (2026-11)]")


@pytest.mark.parametrize("how", ["customer", "class", "all"])
async def test_configured_rates_bind_before_the_clauses(
    account: Account, gate_of: Callable[..., Gate], how: str
) -> None:
    one = {"messages": "1/1h"}
    rates = {"customer": {"by_customer": {"acme": one}}, "class": {"by_class": {"app": one}}, "all": one}
    gate = gate_of(account, transmission.load(), rates=rates[how])
    first: Any = Transaction(account)
    assert await ask(gate, first) == "250"
    assert (await ask(gate, Transaction(account))).endswith("[TP 2.1 (2026-11)]")
    other = dataclasses.replace(
        account, id=99, klass=AccountClass.BULK, customer=dataclasses.replace(account.customer, name="else")
    )
    assert await ask(gate, Transaction(other)) == "250"


async def test_an_observed_customer_is_only_counted(
    account: Account, gate_of: Callable[..., Gate], store: Store
) -> None:
    observed = dataclasses.replace(account, customer=dataclasses.replace(account.customer, mode=Mode.OBSERVE))
    gate = gate_of(observed)
    assert [await ask(gate, Transaction(observed)) for _ in range(5)] == ["250"] * 5
    page = gate.pipeline.metrics.render().decode()
    assert 'gatepost_policy_breaches_total{action="flag",check="message_rate"} 2.0' in page
    await store.flush()
    with store.read() as tx:
        [case] = decisions.timeline(tx, Level.ACCOUNT, account.id)
    assert (case.step, case.set_by) == ("clause 2.1", decisions.OBSERVING)
    assert (case.evidence["action"], case.evidence["mode"]) == ("wait", "observe")


async def test_a_limit_under_a_bypass_is_no_observation(
    account: Account, gate_of: Callable[..., Gate], store: Store
) -> None:
    gate = gate_of(account)
    now = clock.now()
    gate.switches.take([Switch(Name.BYPASS, now, now + timedelta(hours=1), "ann", "storm")])
    assert [await ask(gate, Transaction(account)) for _ in range(5)] == ["250"] * 5
    await store.flush()
    with store.read() as tx:
        assert decisions.timeline(tx, Level.ACCOUNT, account.id) == []


def back(account: Account) -> Account:
    now = clock.now()
    standing = Standing(State.ACTIVE, now, now + timedelta(hours=24), "back", "C-1", "policy")
    return dataclasses.replace(account, standing=standing)


async def test_who_has_just_come_back_sends_little_and_known_recipients_first(
    account: Account, gate_of: Callable[..., Gate]
) -> None:
    fresh = back(account)
    gate = gate_of(fresh, transmission.load())
    for number in range(5):  # a new one counts fourfold, of 20 in an hour
        one = Transaction(fresh)
        assert await ask(gate, one, f"new{number}@world.example") == "250"
        assert one.waits is None
    waits = Transaction(fresh)
    assert await ask(gate, waits, "new6@world.example") == "250"
    assert waits.waits is Why.PACED
    gate = gate_of(fresh, transmission.load())
    hashed = RING.recipient_hash(fresh.customer.id, "ben@world.example")
    gate._correspondents.wrote(fresh, [hashed], clock.now())
    for _ in range(20):
        one = Transaction(fresh)
        assert (await ask(gate, one), one.waits) == ("250", None)


@pytest.mark.parametrize(("may_wait", "answer"), [(True, "250"), (False, "450")])
async def test_under_the_brake_mail_waits_where_it_can(
    account: Account, gate_of: Callable[..., Gate], answer: str, *, may_wait: bool
) -> None:
    gate, now = gate_of(account, transmission.load()), clock.now()
    gate.switches.take([Switch(Name.BRAKE, now, now + timedelta(minutes=1), "staff", "storm")])
    one = Transaction(account, may_wait=may_wait)
    assert (await ask(gate, one)).startswith(answer)
    assert (one.waits is Why.PACED) is may_wait
    gate.switches.take([Switch(Name.BRAKE, now, now, "staff", "storm")])  # its end has come
    assert await ask(gate, Transaction(account, may_wait=may_wait)) == "250"


async def test_the_stricter_of_both_switches_binds_and_a_bypass_beats_both(
    account: Account, gate_of: Callable[..., Gate]
) -> None:
    now = clock.now()
    off = Standing(State.THROTTLED, now, None, "slow", "C-1", "policy", own=State.SUSPENDED)
    both = dataclasses.replace(account, standing=off)
    gate = gate_of(both, transmission.load())
    assert "paused by its owner" in await ask(gate, Transaction(both))
    gate.switches.take([Switch(Name.BYPASS, now, now + timedelta(minutes=1), "staff", "ours")])
    assert await ask(gate, Transaction(both)) == "250"


async def test_automatic_answers_to_one_address_are_braked_beyond_ten(
    account: Account, gate_of: Callable[..., Gate]
) -> None:
    gate = gate_of(account)
    conduct = Conduct(Config(), gate.pipeline.metrics)
    conduct.looping = gate.looping

    def answer(to: str = "bot@world.example", said: str = "auto-replied") -> bool:
        envelope = Envelope("id", "", "", "TLSv1.3", account.login, account.login, (to,), clock.now())
        return conduct.loops(account, Mail(envelope, f"Auto-Submitted: {said}\r\n\r\nI am away\r\n".encode()))

    assert [answer() for _ in range(12)] == [False] * 10 + [True] * 2
    assert not answer("other@world.example")
    assert not answer(said="no")
    conduct.bypassed = lambda: True
    assert not answer()


@pytest.mark.parametrize(
    ("people", "exempt"),
    [
        (("abuse@world.example",), True),
        (("ABUSE@world.example", "spam@own.example"), True),
        (("abuse@world.example", "ben@world.example"), False),
        ((), False),
    ],
)
def test_samples_of_spam_for_abuse_desks_do_not_count(people: tuple[str, ...], *, exempt: bool) -> None:
    config = Config.model_validate({"policy": {"sample_addresses": ["spam@own.example"]}})
    conduct = Conduct(config, Metrics(Log("info", io.StringIO())))
    envelope = Envelope("id", "", "", "", "a@b.example", "a@b.example", people, clock.now())
    assert conduct.reports_spam(Mail(envelope, b"\r\nbuy\r\n")) is exempt
