"""From votes to a standing and back: the ladder, compare-and-set, returns, reinstatement, evidence."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from relay.clock import micros
from relay.feedback import explain
from relay.feedback.intake import Intake
from relay.model import Level, Mode, State
from relay.store import accounts, audit, schema, switch
from relay.store.journal import JournalRow
from relay.store.journal import append as journal_append
from tests.relay.feedback.scene import HUB, LADDER, LOOP, RING, STRANGER, arf

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from tests.relay.feedback.scene import Scene


async def test_18_votes_of_2000_from_two_reporters_deactivate_and_one_does_nothing(
    either_scene: Scene,
) -> None:
    scene = either_scene
    mine, theirs = scene.send_many(2000), scene.send_many(2000, scene.other)
    assert await scene.complain(mine[:18]) == 18
    assert await scene.complain(theirs[:1]) == 1
    assert len(await scene.sweep()) == 1
    standing = scene.standing()
    assert standing.state is State.DEACTIVATED
    assert standing.until == scene.now + timedelta(hours=1)
    assert standing.set_by == "policy"
    assert "18 complaints of 2000" in standing.reason
    assert scene.standing(scene.other).state is State.ACTIVE
    assert await scene.sweep() == [], "decided once"
    with scene.store.read() as tx:
        newest = audit.entries(tx, limit=1)[0]
        assert (newest.who, newest.object) == ("policy", "account bulk@acme.example")
        assert newest.details["case_id"] == standing.case_id
        assert audit.verify(tx) is None
        assert explain.explain(tx, str(standing.case_id))["same"] is True


async def test_five_of_200_switch_off_and_one_of_three_alarms_nobody(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:5])
    await scene.complain(scene.send_many(3, scene.other)[:1])
    await scene.sweep()
    assert scene.standing().state is State.DEACTIVATED
    assert scene.standing(scene.other).state is State.ACTIVE


async def test_cf_07_complaints_of_one_reporter_alone_do_not_switch_off_below_ten(scene: Scene) -> None:
    sent = [one for one in scene.send_many(400) if one.recipients[0].endswith("@a.example")]
    assert await scene.complain(sent[:9]) == 9
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE
    assert [case.step for case in scene.cases()] == ["complaints_warn"]


async def test_grade_b_alone_never_moves_a_standing(scene: Scene) -> None:
    for one in scene.send_many(100):
        await scene.take(arf(one, STRANGER))
    assert scene.tally().grade_b == 100
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE


async def test_only_messages_sent_after_a_reinstatement_count(scene: Scene) -> None:
    sent = scene.send_many(2000)
    await scene.complain(sent[:18])
    await scene.sweep()
    scene.pass_time(timedelta(minutes=5))
    scene.reinstate()
    assert await scene.complain(sent[18:60]) == 42, "they are votes, of mail that is forgiven"
    assert (scene.tally().votes, scene.tally().relayed_to_reporters) == (0, 0)
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE
    scene.pass_time(timedelta(minutes=5))
    await scene.complain(scene.send_many(40)[:10])
    assert (scene.tally().votes, scene.tally().relayed_to_reporters) == (10, 40)
    await scene.sweep()
    assert scene.standing().state is State.SUSPENDED
    with scene.store.read() as tx:
        assert explain.explain(tx, str(scene.standing().case_id))["same"] is True


async def test_a_timed_standing_ends_by_itself_and_three_times_a_month_at_most(scene: Scene) -> None:
    lasted = []
    for _ in range(4):
        await scene.complain(scene.send_many(200)[:5])
        await scene.sweep()
        until = scene.standing().until
        if until is None:
            break
        lasted.append(until - scene.now)
        scene.pass_time(until - scene.now - timedelta(seconds=1))
        assert await scene.sweep() == []
        scene.pass_time(timedelta(seconds=1))
        assert len(await scene.sweep()) == 1
        assert scene.standing().state is State.ACTIVE
        scene.pass_time(timedelta(minutes=1))
    assert lasted == [timedelta(hours=1), timedelta(hours=6), timedelta(hours=24)]
    assert scene.standing().state is State.SUSPENDED


async def test_cf_14_a_burst_seen_by_two_processes_is_one_decision(either_scene: Scene) -> None:
    scene = either_scene
    await scene.complain(scene.send_many(200)[:8])
    second = Intake(scene.config, scene.store, RING, LADDER)
    cases = await asyncio.gather(scene.sweep(), second.sweep(scene.now))
    assert len(cases[0]) + len(cases[1]) == 1
    assert len(scene.cases()) == 1
    with scene.store.read() as tx:
        assert len([one for one in audit.entries(tx) if one.who == "policy"]) == 1


async def test_cf_15_staff_reinstate_by_one_action_and_both_are_on_record(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    await scene.sweep()
    scene.pass_time(timedelta(minutes=1))
    scene.reinstate()
    assert scene.standing().state is State.ACTIVE
    with scene.store.read() as tx:
        assert [one.who for one in audit.entries(tx)] == ["staff:command-line", "policy"]
    assert await scene.sweep() == []


async def test_an_observed_customer_is_judged_and_not_bitten(scene: Scene) -> None:
    with scene.store.begin() as tx:
        accounts.set_mode(tx, scene.now, "acme", Mode.OBSERVE)
    await scene.complain(scene.send_many(200)[:8])
    for _ in range(3):
        await scene.sweep()
    assert scene.standing().state is State.ACTIVE
    case = scene.cases()[0]
    assert (len(scene.cases()), case.step, case.to_state) == (1, "complaints_off", State.ACTIVE)
    assert case.evidence["action"] == "deactivate"


async def test_the_circuit_breaker_paces_what_falls_beyond_three_an_hour(scene: Scene) -> None:
    accounts_ = [scene.add(f"user{number}@acme.example") for number in range(5)]
    for account in accounts_:
        await scene.complain(scene.send_many(200, account)[:8])
    await scene.sweep()
    states = [scene.standing(account).state for account in accounts_]
    assert states == [State.DEACTIVATED] * 3 + [State.THROTTLED] * 2
    assert "circuit breaker" in scene.cases(accounts_[-1])[0].evidence["held_back"]


async def test_spam_like_messages_throttle_without_any_complaint(scene: Scene) -> None:
    await scene.sweep()
    scene.pass_time(timedelta(minutes=1))
    rows = [
        JournalRow(
            f"{number:016d}", scene.account.id, scene.account.customer.id, scene.now, "tag", score=6.0,
            recipient_count=1, recipients=bytes(32), body_hash=bytes([number]) * 16,
        )
        for number in range(6)
    ]  # fmt: skip
    with scene.store.begin() as tx:
        journal_append(tx, rows)
    scene.pass_time(timedelta(seconds=2))
    await scene.sweep()
    assert scene.standing().state is State.THROTTLED


def spam(scene: Scene, first: int, last: int) -> None:
    """Six distinct spam-like messages are a burst."""
    rows = [
        JournalRow(
            f"{number:016d}", scene.account.id, scene.account.customer.id, scene.now, "tag", score=6.0,
            recipient_count=1, recipients=bytes(32), body_hash=bytes([number]) * 16,
        )
        for number in range(first, last)
    ]  # fmt: skip
    with scene.store.begin() as tx:
        journal_append(tx, rows)


async def test_the_end_of_a_throttle_forgets_no_complaint_and_is_no_half_open_return(scene: Scene) -> None:
    await scene.sweep()
    scene.pass_time(timedelta(minutes=1))
    sent = scene.send_many(400)
    await scene.complain(sent[:3])
    scene.pass_time(timedelta(hours=2))
    await scene.sweep()
    spam(scene, 0, 6)
    scene.pass_time(timedelta(seconds=2))
    await scene.sweep()
    assert scene.standing().state is State.THROTTLED
    scene.pass_time(timedelta(hours=2))
    await scene.sweep()
    standing = scene.standing()
    assert (standing.state, standing.until) == (State.ACTIVE, None)
    assert scene.tally().votes == 3
    await scene.complain(sent[3:8])
    await scene.sweep()
    assert scene.standing().state is State.DEACTIVATED


async def test_who_comes_back_from_a_switch_off_is_half_open_for_a_day(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    await scene.sweep()
    scene.pass_time(timedelta(hours=1))
    await scene.sweep()
    standing = scene.standing()
    assert (standing.state, standing.until) == (State.ACTIVE, scene.now + timedelta(hours=24))
    assert standing.half_open(scene.now + timedelta(hours=23))
    assert not standing.half_open(scene.now + timedelta(hours=24))
    assert scene.tally().votes == 0
    scene.pass_time(timedelta(hours=25))
    assert await scene.sweep() == []  # its end is nobody's news


async def test_a_blocked_password_starts_the_numbers_anew(scene: Scene) -> None:
    await scene.sweep()
    scene.pass_time(timedelta(minutes=1))
    with scene.store.begin() as tx:
        for hours in (300, 1):
            network = f"192.0.{hours % 256}.0/24"
            tx.execute(
                schema.network.insert().values(
                    account_id=scene.account.id, kind="network", network=network, country="",
                    first_us=micros(scene.now - timedelta(hours=hours)), last_us=micros(scene.now),
                )
            )  # fmt: skip
    spam(scene, 0, 6)
    scene.pass_time(timedelta(seconds=2))
    (case_id,) = await scene.sweep()
    case = scene.cases()[0]
    assert (case.id, case.step, case.to_state) == (case_id, "compromise", State.THROTTLED)
    assert case.evidence["clause"] == "TP 5.2 (2026-11)"
    with scene.store.read() as tx:
        assert all(one.blocked for one in accounts.account_by_id(tx, scene.account.id).credentials)
    assert scene.tally().spam_bodies_10m == 0
    scene.pass_time(timedelta(seconds=2))
    assert await scene.sweep() == []


async def test_reinstating_an_account_that_is_on_starts_the_numbers_anew_too(scene: Scene) -> None:
    sent = scene.send_many(200)
    scene.pass_time(timedelta(minutes=1))
    with scene.store.begin() as tx:
        login = scene.account.login
        switch.set_by_staff(tx, scene.now, Level.ACCOUNT, login, State.ACTIVE, reason="list cleaned")
    scene.pass_time(timedelta(minutes=1))
    for one in sent[:8]:
        await scene.take(arf(one, LOOP if "@a." in one.recipients[0] else HUB))
    assert await scene.sweep() == []
    assert scene.tally().votes == 0


async def test_a_restarted_control_process_judges_what_came_in_meanwhile(scene: Scene) -> None:
    sent = scene.send_many(200)
    for one in sent[:8]:
        scene.intake.record(arf(one, LOOP if "@a." in one.recipients[0] else HUB), scene.now)
    fresh = Intake(scene.config, scene.store, RING, LADDER)
    assert len(await fresh.sweep(scene.now)) == 1


async def test_a_warning_is_given_once_a_day(scene: Scene) -> None:
    sent = scene.send_many(2000)
    await scene.complain(sent[:7])
    await scene.sweep()
    await scene.complain(sent[7:8])
    await scene.sweep()
    assert [case.step for case in scene.cases()] == ["complaints_warn"]


# -- explain ---------------------------------------------------------------------------------------


def _altered(number: str, to: str) -> Callable[[Connection], None]:
    def work(tx: Connection) -> None:
        evidence = str(tx.exec_driver_sql("select evidence from decision").scalar())
        assert number in evidence
        tx.execute(text("update decision set evidence = :it"), {"it": evidence.replace(number, to, 1)})

    return work


def _run(statement: str) -> Callable[[Connection], None]:
    def work(tx: Connection) -> None:
        assert tx.exec_driver_sql(statement).rowcount

    return work


@pytest.mark.parametrize(
    "alter",
    [
        _altered('"votes":8', '"votes":9'),
        _altered('"relayed_to_reporters":200', '"relayed_to_reporters":201'),
        _altered('"complaint_rate_999":0.0', '"complaint_rate_999":0.1'),
        _altered('"reporters":2', '"reporters":3'),
        _altered('"automatic_returns_30d":0', '"automatic_returns_30d":1'),
        _altered('"loop.example":4', '"loop.example":5'),
        _altered('"window_days":30', '"window_days":31'),
        _altered(">= 0.003", ">= 0.002"),
        _run("update decision set reason = 'another'"),
        _run("update decision set step = 'another'"),
        _run("update cohort set relayed = relayed + 1"),
        _run("update cohort set relayed = relayed - 1"),
        _run("delete from vote where voter = (select min(voter) from vote)"),
        _run("update vote set account_id = 77 where voter = (select min(voter) from vote)"),
        _run("update vote set reporter = 'hub.example'"),
        _run("update vote set grade = 'B' where voter = (select min(voter) from vote)"),
        _run("delete from message where id = (select min(id) from message)"),
    ],
)
async def test_explain_says_so_when_one_stored_number_was_altered(
    scene: Scene, alter: Callable[[Connection], None]
) -> None:
    await scene.complain(scene.send_many(200)[:8])
    scene.pass_time(timedelta(minutes=10))
    case = (await scene.sweep())[0]
    with scene.store.read() as tx:
        whole = explain.explain(tx, case)
    assert whole["same"] is True, whole["differences"]
    with scene.store.begin() as tx:
        alter(tx)
        found = explain.explain(tx, case)
    assert found["same"] is False
    assert found["differences"]
    assert any("NOT the same" in line for line in explain.lines(found))


async def test_explain_stays_the_same_when_more_happens_afterwards(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    scene.pass_time(timedelta(minutes=10))
    case = (await scene.sweep())[0]
    scene.pass_time(timedelta(minutes=10))
    scene.reinstate()
    scene.pass_time(timedelta(minutes=10))
    await scene.complain(scene.send_many(300)[:1])
    with scene.store.read() as tx:
        assert explain.explain(tx, case)["differences"] == []


async def test_explain_shows_a_message_and_never_who_complained(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    await scene.take(arf(sent))
    with scene.store.read() as tx:
        found = explain.explain(tx, sent.id)
    said: Any = found["reports"][0]
    assert (found["kind"], said["grade"], said["counted"]) == ("message", "A", True)
    assert "ann@a.example" not in str(found)
    assert "loop.example" not in str(found["reports"]), "CF-18"
    assert explain.lines(found)


async def test_a_servers_accounts_falling_together_raise_the_servers_case(scene: Scene) -> None:
    for number in range(3):
        account = scene.add(f"user{number}@acme.example")
        await scene.complain(scene.send_many(200, account)[:8])
    await scene.sweep()
    with scene.store.read() as tx:
        server = accounts.account_by_id(tx, scene.account.id).server
        rows = tx.execute(
            text("select step, subject_id from decision where level = :l"), {"l": str(Level.SERVER)}
        ).all()
    assert [tuple(row) for row in rows] == [("accounts_fall", server.id)]
