from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert

from relay.clock import micros
from relay.store import accounts, schema, staff
from tests.relay.console.desk_work import desk_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Watched
    from tests.relay.console.conftest import World

    Console = Callable[..., Watched]

pytestmark = pytest.mark.slow

LOGIN = "anna@acme.example"
VENDOR = Path(__file__).parent / "vendor"
PAGES = ["/", "/accounts", f"/accounts/{LOGIN}", "/complaints", "/cases", "/customers", "/customers/acme"]
PAGES += ["/servers/acme", "/held", "/outbox", "/audit", "/tokens", "/staff", "/me"]
PAGES += ["/held-back", "/reports", f"/reports/{'ab' * 32}", "/reporters", "/suppressions?customer=acme"]
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "javascript:alert(1)")


def furnish(world: World) -> str:
    """Give Anna a suspension, a refused message and a complaint; return the message's id."""
    hits = [{"rule": "links_to_shortener", "score": 9.5, "evidence": "short.example/x"}]
    message = world.sent(
        LOGIN, action="refuse", score=9.5, hits=hits, reply_code=550, reply_text="5.7.1 Spam"
    )
    for action in ("deliver", "deliver", "tag"):
        world.sent(LOGIN, action=action)
    owner = world.account(LOGIN)
    row = {"id": "r1", "at_us": micros(world.now), "feedback_type": "abuse", "grade": "A", "counted": True}
    row |= {"account_id": owner.id, "customer_id": owner.customer.id, "message_id": message, "why": "listed"}
    with world.store.begin() as tx:
        tx.execute(insert(schema.complaint).values(row))
    world.suspend(LOGIN, "18 complaints of 2,000 relayed")
    world.waits(LOGIN, message, score=9.5, hits=hits, campaign="c0ffee")
    world.waits(LOGIN, state="waiting", reason="standing", last="4.2.1 mailbox busy")
    desk_work(world)
    return message


def test_co_01_hostile_names_open_no_dialog_and_break_no_policy(world: World, console: Console) -> None:
    for text in HOSTILE:
        hits = [{"rule": text, "score": 9.0, "evidence": text}]
        with world.store.begin() as tx:
            accounts.add_customer(tx, world.now, text, hosts=["127.0.0.1:25"], contact=text, brand=text)
            accounts.add_account(tx, world.now, text, customer=text)
        world.sent(text, hits=hits, reply_text=text, client_network=text)
        world.suspend(text, text)
    watched = console("admin")
    for path in ("/", "/accounts", "/cases", "/customers", "/servers", "/audit"):
        watched.open(path)
    for text in HOSTILE:
        for folder in ("accounts", "customers", "servers"):
            watched.open(f"/{folder}/{quote(text, safe='')}")
            assert watched.page.inner_text("h1") == text
        watched.page.goto(watched.base + f"/accounts/{quote(text, safe='')}")
        watched.page.locator("td .mono").first.click()
        assert text in watched.page.inner_text("main")
    assert watched.wrong == []


def test_chart_draws_and_follows(world: World, console: Console) -> None:
    furnish(world)
    watched = console("viewer")
    watched.page.wait_for_selector(".chart canvas")
    total = watched.page.locator('[data-total="deliver"]')
    assert total.inner_text() == "2"
    world.sent(LOGIN)
    world.later(seconds=3)  # whoever looks again within two seconds sees the same
    watched.page.wait_for_selector('[data-total="deliver"]:text-is("3")')
    label = watched.page.get_attribute(".chart", "aria-label") or ""
    assert "3 passed" in label
    assert "1 refused" in label
    watched.page.click("button[value='24h']")
    assert watched.page.get_attribute("button[value='24h']", "aria-pressed") == "true"
    assert watched.wrong == []


def test_lists_of_the_overview_follow(world: World, console: Console) -> None:
    watched = console("viewer")
    assert "Nobody's standing has changed yet." in watched.page.inner_text("#now")
    world.suspend(LOGIN, "phishing run")
    watched.page.wait_for_selector("#now >> text=phishing run")
    with world.store.begin() as tx:
        staff.disable(tx, world.now, "viewer")
    watched.page.wait_for_url(re.compile(r"/login\?next=(%2F|/)$"))
    assert [line for line in watched.wrong if "401" not in line] == []


def test_everything_by_keyboard(world: World, console: Console) -> None:
    watched = console("support")
    page = watched.page
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/accounts")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/accounts/anna%40acme.example")
    page.focus("input[name=state][value=suspended]")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("owner called, password stolen")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**?done=suspended")
    assert "Suspended. New recipients are refused within a second." in page.inner_text("[role=status].note")
    assert world.account(LOGIN).standing.reason == "owner called, password stolen"
    page.keyboard.press("/")
    page.keyboard.type("globex")
    page.keyboard.press("Enter")
    page.wait_for_url("**/accounts/anna%40globex.example")
    page.keyboard.press("?")
    assert page.is_visible("dialog#keys")
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog#keys")
    assert watched.wrong == []


def test_the_length_is_asked_for_only_where_it_means_something(console: Console) -> None:
    watched = console("support")
    watched.open(f"/accounts/{LOGIN}")
    assert not watched.page.is_visible("#for-account")
    watched.page.check("input[value=deactivated]")
    assert watched.page.is_visible("#for-account")


def test_search_narrows_while_typing_and_the_address_follows(console: Console) -> None:
    watched = console("viewer")
    watched.open("/accounts")
    assert watched.page.locator("#list tbody tr").count() == 2
    watched.page.fill("#q", "globex")
    watched.page.wait_for_selector("#list tbody tr:only-child")
    watched.page.wait_for_url(re.compile(r"/accounts\?q=globex"))
    watched.page.select_option("#standing", "suspended")
    watched.page.wait_for_selector("#list .empty")
    assert watched.wrong == []


def test_dark_and_light(console: Console) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    bright = console("viewer", color_scheme="light").page.evaluate(ground)
    watched = console("viewer", color_scheme="dark")
    dark = watched.page.evaluate(ground)
    assert dark != bright
    watched.page.click("[data-theme-switch]")
    assert watched.page.evaluate(ground) == bright
    watched.open("/accounts")
    assert watched.page.evaluate(ground) == bright, "the choice is remembered"
    assert watched.wrong == []


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_cut_off_on_a_narrow_screen(world: World, console: Console, width: int) -> None:
    message = furnish(world)
    watched = console("admin", viewport={"width": width, "height": 740})
    for path in (*PAGES, f"/explain/{message}", f"/waiting/{message}"):
        watched.open(path)
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert watched.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(world: World, console: Console, scheme: str) -> None:
    message = furnish(world)
    watched = console("admin", color_scheme=scheme)
    source = (VENDOR / "axe-4.14.1.min.js").read_text("utf-8")
    for path in (*PAGES, f"/explain/{message}", f"/waiting/{message}"):
        watched.open(path)
        watched.page.evaluate(source)
        found: list[Any] = watched.page.evaluate("axe.run().then(result => result.violations)")
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == [], path
    watched.page.context.clear_cookies()
    watched.open("/login")
    watched.page.evaluate(source)
    assert watched.page.evaluate("axe.run().then(result => result.violations.map(one => one.id))") == []


def test_pages_work_without_scripts(world: World, console: Console) -> None:
    furnish(world)
    watched = console("support", java_script_enabled=False)
    for path in ("/", "/accounts?q=acme", f"/accounts/{LOGIN}"):
        watched.open(path)
    watched.page.check("input[value=active]")
    watched.page.fill("textarea", "password changed")
    watched.page.click("button.main")
    assert "Reinstated" in watched.page.inner_text("[role=status].note")


def test_log_out_ends_it(console: Console) -> None:
    watched = console("viewer")
    watched.page.click("text=Log out")
    watched.page.wait_for_url("**/login")
    watched.page.go_back()
    watched.page.reload()
    watched.page.wait_for_selector("#password")


def test_vendored_files_are_those_that_were_looked_at() -> None:
    for line in (VENDOR / "MANIFEST.sha256").read_text().splitlines():
        digest, name = line.split("  ")
        assert sha256((VENDOR / name).read_bytes()).hexdigest() == digest
