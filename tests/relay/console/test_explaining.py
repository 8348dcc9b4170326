"""What staff read of a decision that the shipped ladder made from real, signed reports."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from relay.console.app import create
from relay.store import accounts, staff, tokens
from tests.relay.console.conftest import PASSWORD, log_in
from tests.relay.feedback.conftest import migrated_template, scene, store
from tests.relay.feedback.scene import RING

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene

__all__ = ["migrated_template", "scene", "store"]

LOGIN = "bulk@acme.example"


@pytest.fixture
async def case(scene: Scene) -> str:
    await scene.complain(scene.send_many(200)[:8])
    scene.pass_time(timedelta(minutes=10))
    return (await scene.sweep())[0]


@pytest.fixture
def desk(scene: Scene, case: str) -> TestClient:
    assert case
    with scene.store.begin() as tx:
        staff.add(tx, scene.now, "abuse", PASSWORD, role="abuse")
    app = create(
        scene.store,
        None,
        scene.config,
        metrics=lambda: b"",
        ready=lambda: (True, {}),
        keyring=RING,
        now=lambda: scene.now,
    )
    client = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    assert log_in(client, "abuse").status_code == 303
    return client


def test_an_account_shows_what_is_certain_of_its_rate(desk: TestClient, case: str) -> None:
    page = desk.get(f"/accounts/{LOGIN}").text
    assert "8 of 200" in page
    assert "4.00 %" in page, "the bare quotient"
    assert "complaints that count, 30 days" in page
    assert "What lifts it" in page
    assert f"/explain/{case}" in page
    assert "recipients relayed, 30 days" in page


def test_a_case_computes_itself_again(desk: TestClient, case: str) -> None:
    page = desk.get(f"/explain/{case}").text
    assert "the same decision" in page
    assert "not the same" not in page
    assert "The numbers it was made from" in page
    assert "active → deactivated" in page or "active → suspended" in page


def test_an_altered_number_shows(desk: TestClient, scene: Scene, case: str) -> None:
    with scene.store.begin() as tx:
        evidence = str(tx.exec_driver_sql("select evidence from decision").scalar())
        assert '"votes":8' in evidence
        altered = evidence.replace('"votes":8', '"votes":9', 1)
        tx.execute(text("update decision set evidence = :it"), {"it": altered})
    page = desk.get(f"/explain/{case}").text
    assert "not the same" in page
    assert "Something that was stored has been changed since" in page
    assert "votes" in page


def test_the_api_says_the_same(desk: TestClient, scene: Scene, case: str) -> None:
    with scene.store.begin() as tx:
        header = {"authorization": f"Bearer {tokens.make(tx, scene.now, 't', scopes=['read'], made_by='t')}"}
    found = desk.get(f"/api/v1/cases/{case}", headers=header).json()
    assert (found["same"], found["differences"]) == (True, [])
    assert found["subject"] == LOGIN
    account = desk.get(f"/api/v1/accounts/{LOGIN}", headers=header).json()
    assert account["tally"]["votes"] == 8
    assert account["evidence"]["numbers"]["votes"] == 8
    listed = desk.get("/api/v1/complaints?counted=true", headers=header).json()
    assert len(listed["complaints"]) == 8
    assert {row["grade"] for row in listed["complaints"]} == {"A"}


def test_a_customers_token_sees_the_numbers_but_no_reporter(
    desk: TestClient, scene: Scene, case: str
) -> None:
    with scene.store.begin() as tx:
        owner = accounts.account(tx, LOGIN).customer.id
        token = tokens.make(tx, scene.now, "t", scopes=["read"], made_by="t", customer_id=owner)
    header = {"authorization": f"Bearer {token}"}
    account = desk.get(f"/api/v1/accounts/{LOGIN}", headers=header).json()
    (line,) = [
        one for one in desk.get("/api/v1/cases", headers=header).json()["cases"] if one["case_id"] == case
    ]
    for evidence in (account["evidence"], line["evidence"]):
        assert evidence["numbers"]["votes"] == 8
        assert not {"votes_by_reporter", "complaints"} & evidence.keys()
