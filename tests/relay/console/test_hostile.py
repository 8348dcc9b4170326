"""CO-01 and CO-08: whatever comes from outside is text, on pages and in spreadsheets."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from relay.clock import micros
from relay.console.export import cell, line
from relay.store import accounts, schema

if TYPE_CHECKING:
    from tests.relay.console.conftest import World

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "{% include 'base.html' %}",
    "javascript:alert(1)",
    "' onmouseover='alert(1)",
    "</title><svg onload=alert(1)>",
    "a\u202egpj.exe\u2066",
    "\x1b[31mred\x07",
]

#: What no page of ours holds.
FORBIDDEN = {"img", "iframe", "object", "embed", "base", "style", "audio", "video", "math", "template"}


class Tags(HTMLParser):
    """Collects what a browser would take for elements and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "inline")
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {value or "" for name, value in attrs if name in ("href", "src", "action")}


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture
def poisoned(world: World) -> World:
    """Hostile text in every column that the console shows."""
    for number, text in enumerate(HOSTILE):
        login = f"{text}{number}"
        with world.store.begin() as tx:
            accounts.add_customer(
                tx, world.now, login, hosts=[f"{text}:25"], contact=text, brand=text, phone=text
            )
            accounts.add_account(tx, world.now, login, customer=login, senders=[text])
        hits = [{"rule": text, "score": 9.0, "evidence": text}]
        message = world.sent(
            login,
            hits=hits,
            malformed=text,
            reply_text=text,
            client_network=text,
            unanswered=[text],
            ruleset=text,
        )
        world.suspend(login, text)
        row = {"feedback_type": text, "reporter": text, "why": text, "grade": "A", "at_us": micros(world.now)}
        owner = world.account(login)
        row |= {
            "id": f"r{number}",
            "account_id": owner.id,
            "customer_id": owner.customer.id,
            "message_id": message,
        }
        with world.store.begin() as tx:
            tx.execute(insert(schema.complaint).values(row))
    return world


def test_co_01_and_cf_17_hostile_text_stays_text_on_every_page(poisoned: World) -> None:
    client = poisoned.at_desk("admin")
    pages = ["/", "/accounts", "/complaints", "/cases", "/customers", "/servers", "/audit", "/tokens"]
    for number, text in enumerate(HOSTILE):
        name = quote(f"{text}{number}", safe="")
        pages += [f"/accounts/{name}", f"/customers/{name}", f"/servers/{name}"]
        pages += [
            f"/accounts?q={quote(text)}",
            f"/complaints?login={quote(text)}",
            f"/audit?who={quote(text)}",
        ]
        with poisoned.store.read() as tx:
            number_of = poisoned.account(f"{text}{number}").id
            rows = tx.execute(schema.message.select().where(schema.message.c.account_id == number_of)).all()
            cases = tx.execute(
                schema.decision.select().where(schema.decision.c.subject_id == number_of)
            ).all()
        pages += [f"/explain/{row.id}" for row in rows] + [f"/explain/{case.case_id}" for case in cases]
    for path in pages:
        answer = client.get(path)
        assert answer.status_code == 200, path
        found = read(answer.text)
        assert not found.tags & FORBIDDEN, path
        assert all(script.startswith("/static/") for script in found.scripts), path
        assert not {name for name in found.attributes if name.startswith("on") or name == "style"}, path
        assert all(address.startswith(("/", "#")) for address in found.addresses), path


def test_co_01_names_are_shown_as_they_are(poisoned: World) -> None:
    page = poisoned.at_desk("viewer").get("/accounts?q=script").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;0" in page
    assert "{{7*7}}" in poisoned.at_desk("viewer").get("/accounts?q=7*7").text


@pytest.mark.parametrize("lead", ["=", "+", "-", "@", "\t", "\r", " =", "\u00a0="])
def test_co_08_no_cell_is_a_formula(lead: str) -> None:
    assert cell(f"{lead}cmd|' /C calc'!A0").startswith("'")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_co_08_lines_are_rfc_4180(values: list[str]) -> None:
    text = line(values)
    assert text.endswith("\r\n")
    assert next(csv.reader(io.StringIO(text, newline=""))) == [cell(value) for value in values]


def test_co_08_and_cf_17_export_of_hostile_lists(poisoned: World) -> None:
    with poisoned.store.begin() as tx:
        accounts.add_account(tx, poisoned.now, "=cmd|' /C calc'!A0", customer="acme")
    poisoned.suspend("=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","click")')
    client = poisoned.at_desk("support")
    answer = client.get("/accounts.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="gatepost-accounts.csv"'
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert rows[0][0] == "login"
    assert len(rows) == 1 + 2 + len(HOSTILE) + 1
    assert not [value for row in rows for value in row if value.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert len(list(csv.reader(io.StringIO(client.get("/complaints.csv").text)))) == 1 + len(HOSTILE)
    assert client.get("/accounts.csv?q=cmd").text.count("\r\n") == 2
    assert poisoned.audit()[0][1:] == ("exported", "accounts.csv")


def test_co_08_a_long_export_has_every_line_once(world: World) -> None:
    with world.store.begin() as tx:
        model = dict(tx.execute(schema.account.select().limit(1)).mappings().one())
        del model["id"]
        logins = [f"a{number}@acme.example" for number in range(1203)]
        tx.execute(insert(schema.account), [model | {"login": name, "login_key": name} for name in logins])
    rows = list(csv.reader(io.StringIO(world.at_desk("support").get("/accounts.csv").text)))
    assert len(rows) == len({row[0] for row in rows}) == 1 + 2 + 1203


def test_a_name_with_a_slash_has_its_page(world: World) -> None:
    with world.store.begin() as tx:
        accounts.add_account(tx, world.now, "a/b/standing?x#y", customer="acme")
    client = world.at_desk("support")
    page = client.get("/accounts?q=a/b").text
    path = next(address for address in read(page).addresses if address.startswith("/accounts/a%2Fb"))
    assert client.get(path).status_code == 200
