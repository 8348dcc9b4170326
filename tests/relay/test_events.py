from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from relay import clock, ids
from relay.events import (
    BugFound,
    ConfigReloaded,
    LoginTried,
    MessageHandled,
    RecipientRefused,
    ReportTaken,
    StandingChanged,
    UpstreamFailed,
)
from relay.log import Log
from relay.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable


def handled(action: str = "deliver") -> MessageHandled:
    return MessageHandled(
        "id", "a@b", action, "forwarded", 1.0, ("r",), "250 2.0.0", 10, 1, stages_ms={"total": 2.0}
    )


def test_an_event_is_one_line_and_its_numbers() -> None:
    stream = io.StringIO()
    metrics = Metrics(Log("info", stream))
    for event in (
        handled(),
        RecipientRefused("a@b", "standing", "550 5.7.1"),
        LoginTried("a@b", ok=True, mechanism="PLAIN", peer_ip="::1"),
        ReportTaken("id", "complaint", "A", counted=True),
        StandingChanged("a@b", "suspended", "policy", "7k3m-9qxd", "why"),
        UpstreamFailed("acme", "refused"),
        ConfigReloaded(ok=False, faults=("x",)),
        BugFound("here", "ValueError"),
    ):
        metrics.emit(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "message", "recipient_refused", "login", "report", "standing", "upstream_failed", "config_reloaded",
        "bug",
    ]  # fmt: skip
    text = metrics.render().decode()
    for sample in (
        'gatepost_messages_total{action="deliver",outcome="forwarded"} 1.0',
        'gatepost_recipients_refused_total{why="standing"} 1.0',
        'gatepost_logins_total{ok="true"} 1.0',
        'gatepost_reports_total{counted="true",grade="A",kind="complaint"} 1.0',
        'gatepost_standing_changes_total{state="suspended"} 1.0',
        "gatepost_upstream_failures_total 1.0",
        "gatepost_config_reload_ok 0.0",
        "gatepost_bugs_total 1.0",
    ):
        assert sample in text
    assert "a@b" not in text


def test_a_new_process_shows_zeros() -> None:
    text = Metrics(Log()).render().decode()
    assert 'gatepost_messages_total{action="refuse",outcome="refused"} 0.0' in text
    assert 'gatepost_stage_seconds_count{stage="screen"} 0.0' in text


def test_a_bug_leaves_frames_and_no_values() -> None:
    stream = io.StringIO()
    metrics = Metrics(Log("info", stream))
    secret = "hunter" + "2"
    try:
        int(secret)
    except ValueError as error:
        metrics.bug("test", error)
    assert secret not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_hostile_text_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    Log("info", stream).line("info", {"login": 'a\r\n{"event":"x"}\x1b[2J\u202e'})
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().isascii()


def test_lines_below_the_level_are_not_written_and_a_lost_stream_is_survived() -> None:
    stream = io.StringIO()
    log = Log("warning", stream)
    log.line("info", {"a": 1})
    assert stream.getvalue() == ""
    stream.close()
    log.line("error", {"a": 1})


def test_lines_wait_for_the_flush_that_the_daemon_sets() -> None:
    stream = io.StringIO()
    later: list[Callable[[], None]] = []
    log = Log("info", stream)
    log.flush_soon = later.append
    log.line("info", {"a": 1})
    log.line("info", {"a": 2})
    assert stream.getvalue() == ""
    assert len(later) == 1
    later[0]()
    assert len(stream.getvalue().splitlines()) == 2


@pytest.mark.parametrize("moment", [clock.EPOCH, datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC)])
def test_moments_survive_the_store(moment: datetime) -> None:
    assert clock.moment(clock.micros(moment)) == moment


def test_message_ids_sort_by_time_and_pack() -> None:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    made = [ids.message_id(start + timedelta(seconds=number)) for number in range(50)]
    assert made == sorted(made)
    assert all(ids.message_id_text(ids.message_id_bytes(one)) == one for one in made)
    with pytest.raises(ValueError, match="abc"):
        ids.message_id_bytes("abc")


def test_case_ids_can_be_read_over_the_telephone() -> None:
    assert all(len(ids.case_id()) == 9 and not set(ids.case_id()) & set("ilou") for _ in range(50))
