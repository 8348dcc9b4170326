"""What a customer may see of a decision: what was counted, and nobody who complained or was written to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from click.testing import CliRunner

from relay.cli import main
from relay.feedback import explain
from relay.model import Level, State
from relay.store import journal, switch
from tests.relay.feedback.scene import LOOP, arf

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene

NAMES = ("a.example", "b.example", "loop.example", "hub.example", "user0")


async def test_cf_18_a_redacted_case_names_its_account_and_numbers_and_nobody_else(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    [case] = await scene.sweep()
    with scene.store.read() as tx:
        whole = explain.explain(tx, case)
    text = json.dumps(explain.redacted(whole))
    assert "loop.example" in json.dumps(whole), "staff see the reporters"
    assert not [name for name in NAMES if name in text]
    assert not [one for one in whole["evidence"]["complaints"] if one in text]
    seen = explain.redacted(whole)
    assert (seen["subject"], seen["to"], seen["same"]) == ("bulk@acme.example", "deactivated", True)
    assert seen["numbers"]["votes"] == 8
    assert seen["lifts"]
    assert seen["clause"]
    assert any(line.startswith("numbers: ") for line in explain.redacted_lines(seen))


async def test_cf_18_what_staff_wrote_shows_no_address_but_the_accounts_own(scene: Scene) -> None:
    with scene.store.begin() as tx:
        reason = "ann@a.example and <Bob@B.example>, told of bulk@acme.example by phone"
        switch.set_by_staff(tx, scene.now, Level.ACCOUNT, scene.account.login, State.SUSPENDED, reason=reason)
    found = scene.cases()[0].id
    with scene.store.read() as tx:
        seen = explain.redacted(explain.explain(tx, found))
    assert seen["reason"] == "… and <…>, told of bulk@acme.example by phone"


async def test_cf_18_a_redacted_message_shows_counts_and_no_words_of_others(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    with scene.store.begin() as tx:
        row = journal.message(tx, sent.id)
        assert row is not None
        number = sent.id[:-1] + ("0" if sent.id[-1] != "0" else "1")
        hits = [{"rule": "lottery", "score": 3.5, "evidence": "You, ann@a.example, won"}]
        words = "5.1.1 <ann@a.example> is unknown at mx.a.example"
        journal.append(tx, [replace(row, id=number, reply_code=550, reply_text=words, hits=hits)])
    await scene.take(arf(sent, LOOP))
    with scene.store.read() as tx:
        refused = explain.redacted(explain.explain(tx, number))
        reported = explain.redacted(explain.explain(tx, sent.id))
    text = json.dumps([refused, reported])
    assert not [name for name in (*NAMES, "ann") if name in text]
    assert refused["hits"] == [{"rule": "lottery", "score": 3.5}]
    assert refused["reply"] == "550"
    assert reported["reports"] == [{"feedback_type": "abuse"}]


async def test_the_command_line_redacts_too(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    [case] = await scene.sweep()
    (scene.config.folder / "gatepost.toml").write_text('hostname = "relay.example"\n')
    words = ["-c", str(scene.config.folder / "gatepost.toml"), "explain", case, "--redacted"]
    for more in ([], ["--json"]):
        result = CliRunner().invoke(main, [*words, *more])
        assert result.exit_code == 0, result.output
        assert "bulk@acme.example" in result.output
        assert not [name for name in NAMES if name in result.output]
