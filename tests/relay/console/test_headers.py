from __future__ import annotations

import ipaddress
import re
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from relay.console import words
from relay.console.guard import client_address, client_key
from relay.errors import StoreError
from relay.events import BugFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.relay.console.conftest import World

STATIC = words.HERE / "static"
TEMPLATES = sorted((words.HERE / "templates").glob("*.html"))


@pytest.mark.parametrize(
    "path", ["/", "/login", "/nothing", "/metrics", "/healthz", "/api/v1/accounts", "/static/console.css"]
)
def test_co_11_security_headers_everywhere(world: World, path: str) -> None:
    headers = world.client().get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == ("public, max-age=3600" if "static" in path else "no-store")
    assert "strict-transport-security" not in headers, "plain HTTP must not promise https"
    assert "access-control-allow-origin" not in headers


def test_co_11_hsts_when_staff_come_by_https(world: World) -> None:
    client = world.client(world.app(url="https://console.example"), https=True)
    assert client.get("/login").headers["strict-transport-security"].startswith("max-age=")
    behind = world.client(world.app(proxies=("192.0.2.0/24",)))
    headers = {"x-forwarded-proto": "https"}
    assert "strict-transport-security" in behind.get("/login", headers=headers).headers
    stranger = world.client(world.app())
    assert "strict-transport-security" not in stranger.get("/login", headers=headers).headers


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_co_11_templates_hold_no_inline_script_or_style(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=|<style|javascript:|\|\s*safe\b", text)


def test_vendored_files_are_those_that_were_looked_at() -> None:
    vendor = STATIC / "vendor"
    wanted = dict(line.split("  ")[::-1] for line in (vendor / "MANIFEST.sha256").read_text().splitlines())
    found = {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in vendor.iterdir()
        if path.name != "MANIFEST.sha256"
    }
    assert found == wanted


def test_every_static_file_that_a_template_names_is_there() -> None:
    named = {
        name for path in TEMPLATES for name in re.findall(r"static\('([^']+)'\)", path.read_text("utf-8"))
    }
    assert named
    assert named <= set(words.versions())


def test_co_10_forged_host_changes_no_link(world: World) -> None:
    client = world.at_desk("viewer")
    forged = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    cookie = {"cookie": f"gatepost-session={client.cookies['gatepost-session']}"}
    page = world.client().get("/accounts", headers=forged | cookie)
    assert page.status_code == 200
    assert "evil.example" not in page.text
    assert not re.search(r'(?:href|src|action)="(?:[a-z]+:|//)', page.text)
    asked = world.client().get("/accounts", headers=forged)
    assert asked.headers["location"] == "/login?next=/accounts"


def test_co_18_a_bug_shows_an_id_only(world: World) -> None:
    app = world.app()

    @app.get("/broken")
    async def broken() -> None:
        secret = "hunter2"
        raise ValueError(f"the password is {secret}")

    @app.get("/api/v1/broken")
    async def broken_too() -> None:
        raise ValueError("the password is hunter2")

    client = world.client(app)
    for path in ("/broken", "/api/v1/broken"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert answer.headers["x-request-id"] in answer.text
        assert "hunter2" not in answer.text
        assert "ValueError" not in answer.text
        assert "Traceback" not in answer.text
        assert "content-security-policy" in answer.headers
    bugs = [event for event in world.events if isinstance(event, BugFound)]
    assert [bug.error for bug in bugs] == ["ValueError", "ValueError"]
    assert "hunter2" not in "".join(bug.error + bug.where for bug in bugs)
    assert "in broken" in bugs[0].traceback


def test_a_store_that_is_gone_answers_503(world: World) -> None:
    app = world.app()

    @app.get("/gone")
    async def gone() -> None:
        raise StoreError("disk full at /var/lib")

    answer = world.client(app).get("/gone")
    assert answer.status_code == 503
    assert "disk" not in answer.text


def test_missing_pages_answer_404_alike(world: World) -> None:
    client = world.at_desk("admin")

    def answer(path: str) -> tuple[int, str]:
        page = client.get(path)
        return page.status_code, page.text.replace(page.headers["x-request-id"], "ID")

    paths = (
        "/accounts/nobody",
        "/customers/nobody",
        "/servers/nobody",
        "/explain/zzzz-zzzz",
        "/explain/x",
        "/nope",
    )
    assert len({answer(path) for path in paths}) == 1
    assert answer("/nope")[0] == 404


def test_a_body_without_an_end_is_cut(world: World) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"a" * 10_000

    form = {"content-type": "application/x-www-form-urlencoded"}
    assert world.client().post("/login", content=endless(), headers=form).status_code in (400, 413)


def test_probes_answer_without_a_login(world: World) -> None:
    client = world.client()
    assert client.get("/metrics").text == "gatepost_messages_total 0.0\n"
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"ready": True, "store": True}
    world.ready = (False, {"store": False})
    broken = client.get("/readyz")
    assert (broken.status_code, broken.json()) == (503, {"ready": False, "store": False})
    page = world.at_desk("viewer").get("/")
    assert "is not taken now: store" in page.text


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["spam, <script>"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("testclient", ["198.51.100.1"], "testclient"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_co_16_client_address(peer: str, forwarded: list[str], client: str) -> None:
    assert client_address(peer, forwarded, [ipaddress.ip_network("10.0.0.0/8")]) == client


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_limits_count_an_ipv6_client_by_its_64(address: str, key: str) -> None:
    assert client_key(address) == key
