from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest

from relay import clock
from relay.config import Config, NoticesConfig, UpstreamConfig
from relay.errors import ConfigError
from relay.keyring import Key, Keyring
from relay.model import Level, State
from relay.notices import appeal, webhook
from relay.notices.message import signed
from relay.noticing import Noticer
from relay.store import decisions, notices
from relay.store.engine import Store
from relay.upstream.pool import Pool
from tests.relay.store.people import add_account, add_customer
from tests.relay.upstream.fake import FakeServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SECRET = b"0123456789abcdef"
RING = Keyring([Key(1, b"k" * 32)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    with store.begin() as tx:
        add_customer(tx, contact="ops@acme.example", brand="Acme Hosting")
        number = add_account(tx).id
        decisions.add(
            tx, clock.now(), case_id="C-1", level=Level.ACCOUNT, subject_id=number, step="complaints_off",
            from_state=State.ACTIVE, to_state=State.DEACTIVATED, until=clock.now() + timedelta(hours=1),
            reason="18 complaints of 2000", evidence={"action": "deactivate"}, set_by="policy",
        )  # fmt: skip
    yield store
    store.close()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().running() as fake:
        yield fake


@asynccontextmanager
async def telling(store: Store, folder: Path, **settings: Any) -> AsyncIterator[Noticer]:
    pool = Pool(UpstreamConfig(), "gate.example")
    (folder / "secret").write_bytes(SECRET + b"\n")
    own = NoticesConfig.model_validate({"webhook_secret": folder / "secret", **settings})
    try:
        yield Noticer(Config(notices=own, folder=folder), store, pool, RING)
    finally:
        await pool.close()


def waiting(store: Store) -> list[notices.Due]:
    with store.read() as tx:
        return notices.due(tx, clock.now())


async def test_customer_and_staff_are_told_once(store: Store, server: FakeServer, tmp_path: Path) -> None:
    address, staff = f"127.0.0.1:{server.port}", ["ada@provider.example", "bob@provider.example"]
    async with telling(store, tmp_path, server=address, staff=staff) as noticer:
        assert await noticer.tell(clock.now()) == 2
        assert await noticer.tell(clock.now()) == 0
    by_rcpt = {len(one.rcpts): one for one in server.messages}
    mail = message_from_bytes(by_rcpt[1].data, policy=policy.default)
    assert mail["To"] == "ops@acme.example"
    assert mail["Subject"] == "Sending from alice@acme.example is switched off"
    assert "18 complaints of 2000" in mail.get_content()
    to_staff = message_from_bytes(by_rcpt[2].data, policy=policy.default)
    assert "gatepost explain C-1" in to_staff.get_content()
    assert len(server.messages) == 2


async def test_a_decision_behind_a_thousand_others_is_told_too(
    store: Store, server: FakeServer, tmp_path: Path
) -> None:
    before = clock.now() - timedelta(minutes=30)
    with store.begin() as tx:
        for number in range(1000):
            decisions.add(
                tx, before, case_id=f"C-0-{number}", level=Level.ACCOUNT, subject_id=1, step="observed",
                from_state=State.ACTIVE, to_state=State.DEACTIVATED, until=None, reason="",
                evidence={"action": "deactivate", "mode": "observe"}, set_by="policy",
            )  # fmt: skip
    async with telling(store, tmp_path, server=f"127.0.0.1:{server.port}") as noticer:
        assert await noticer.tell(clock.now()) == 1
    assert len(server.messages) == 1


async def test_one_address_that_is_gone_does_not_keep_it_from_the_others(
    store: Store, server: FakeServer, tmp_path: Path
) -> None:
    server.refused = "gone"
    address, staff = f"127.0.0.1:{server.port}", ["gone@provider.example", "bob@provider.example"]
    async with telling(store, tmp_path, server=address, staff=staff) as noticer:
        await noticer.tell(clock.now())
    assert len(server.messages) == 2
    assert waiting(store) == []


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT", "GREETING"])
async def test_a_notice_that_is_refused_waits(
    store: Store, server: FakeServer, tmp_path: Path, verb: str
) -> None:
    server.answers[verb] = [b"451 4.3.0 later\r\n"]
    async with telling(store, tmp_path, server=f"127.0.0.1:{server.port}") as noticer:
        assert await noticer.tell(clock.now()) == 1
        assert server.messages == []
        with store.read() as tx:
            (one,) = notices.due(tx, clock.now() + timedelta(minutes=2))
        assert one.attempts == 1
        assert await noticer.tell(clock.now()) == 0
        assert await noticer.tell(clock.now() + timedelta(minutes=2)) == 1
    assert len(server.messages) == 1


async def test_a_customer_without_a_plain_address_is_told_by_staff(
    store: Store, server: FakeServer, tmp_path: Path
) -> None:
    with store.begin() as tx:
        add_customer(tx, "other", contact="Ops <ops@other.example>")
        number = add_account(tx, "x@other.example", "other").id
        decisions.add(
            tx, clock.now(), case_id="C-2", level=Level.ACCOUNT, subject_id=number, step="x",
            from_state=State.ACTIVE, to_state=State.SUSPENDED, until=None, reason="r", evidence={},
            set_by="ada",
        )  # fmt: skip
    async with telling(store, tmp_path, server=f"127.0.0.1:{server.port}") as noticer:
        await noticer.tell(clock.now())
    assert len(server.messages) == 1
    assert "ops@acme.example" in server.messages[0].rcpts[0]
    assert waiting(store) == []


@pytest.mark.parametrize("mistake", ["nobody", "1 / (numbers | length - numbers | length)", "reason.no.no"])
async def test_a_text_that_fails_at_work_waits_and_the_others_are_told(
    store: Store, server: FakeServer, tmp_path: Path, mistake: str
) -> None:
    (tmp_path / "texts").mkdir()
    broken = f"S\n{{% if subject == 'alice@acme.example' %}}{{{{ {mistake} }}}}{{% endif %}}text"
    (tmp_path / "texts" / "deactivate.txt").write_text(broken)
    settings: dict[str, Any] = {"templates": tmp_path / "texts", "staff": ["ada@provider.example"]}
    async with telling(store, tmp_path, server=f"127.0.0.1:{server.port}", **settings) as noticer:
        assert await noticer.tell(clock.now()) == 2
    assert len(server.messages) == 1


async def test_a_notice_has_a_signed_link_to_appeal(store: Store, server: FakeServer, tmp_path: Path) -> None:
    settings = {"server": f"127.0.0.1:{server.port}", "appeals": "https://mail.example"}
    async with telling(store, tmp_path, **settings) as noticer:
        await noticer.tell(clock.now())
    (one,) = server.messages
    text = message_from_bytes(one.data, policy=policy.default).get_content()
    assert f"https://mail.example/appeal/C-1/{appeal.signature(RING, 'C-1')}" in text
    assert appeal.signed(RING, "C-1", appeal.signature(RING, "C-1"))
    assert not appeal.signed(RING, "C-2", appeal.signature(RING, "C-1"))


async def test_without_any_way_nothing_is_derived(store: Store, tmp_path: Path) -> None:
    async with telling(store, tmp_path) as noticer:
        assert noticer.channels == ()
        assert await noticer.tell(clock.now()) == 0


@asynccontextmanager
async def program(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        seen.append(head + await reader.readexactly(length))
        writer.write(answer)
        if answer:
            writer.close()
        else:
            await reader.read()
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hook?x=1", seen
    finally:
        listening.close()


async def test_a_program_gets_signed_json(store: Store, tmp_path: Path) -> None:
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with program(answer) as (url, seen), telling(store, tmp_path, webhook=url) as noticer:
        assert await noticer.tell(clock.now()) == 1
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook?x=1 HTTP/1.1"
    signature = next(line.partition(": ")[2] for line in lines if line.startswith("Gatepost-Signature: "))
    assert signed(SECRET, body, signature, int(clock.now().timestamp()))
    assert json.loads(body)["case_id"] == "C-1"
    assert waiting(store) == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", 500),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", 302),
        (b"220 smtp.example\r\n", 0),
        (b"x" * 70_000 + b"\r\n", 0),
        (b"HTTP/1.1 2\r\n", 0),
    ],
)
async def test_what_is_not_a_success_is_tried_again(
    store: Store, tmp_path: Path, answer: bytes, status: int
) -> None:
    async with program(answer) as (url, _):
        assert await webhook.post(url, b"{}", {}) == status
        async with telling(store, tmp_path, webhook=url) as noticer:
            await noticer.tell(clock.now())
    with store.read() as tx:
        (one,) = notices.due(tx, clock.now() + timedelta(minutes=2))
    assert one.attempts == 1


async def test_a_program_that_is_silent_or_away_is_left_after_its_time() -> None:
    async with program(b"") as (url, _):
        assert await webhook.post(url, b"{}", {}, seconds=0.1) == 0
    assert await webhook.post(url, b"{}", {}, seconds=1) == 0


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://hooks.example/x", ""),
        ("http://127.0.0.1:8080/x", ""),
        ("http://localhost/x", ""),
        ("http://[::1]/x", ""),
        ("http://hooks.example/x", "must be https"),
        ("ftp://hooks.example/x", "must be https"),
        ("https:///x", "must be https://HOST/PATH"),
        ("https://user:pass@hooks.example/", "without a login"),
        ("https://hooks.example/a b", "must be https://HOST/PATH"),
        ("https://hooks.example/é", "must be https://HOST/PATH"),
        ("https://hooks.example:99999/", "is no URL"),
        ("https://[::1/", "is no URL"),
    ],
)
def test_a_webhook_is_https_but_for_this_machine(url: str, fault: str) -> None:
    found = webhook.fault_of(url)
    assert fault in found
    assert bool(found) is bool(fault)


async def test_every_fault_of_a_webhook_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        async with telling(store, tmp_path, webhook="http://x.example", webhook_secret=tmp_path / "none"):
            pass
    assert [fault.path for fault in caught.value.faults] == ["notices.webhook", "notices.webhook_secret"]
    (tmp_path / "short").write_text("short")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        async with telling(store, tmp_path, webhook="https://x.example", webhook_secret=tmp_path / "short"):
            pass


async def test_staff_whom_nobody_names_any_more_keep_no_other_from_being_told(
    store: Store, server: FakeServer, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{server.port}"
    server.answers["GREETING"] = [b"421 4.3.0 later\r\n"] * 2
    async with telling(store, tmp_path, server=address, staff=["ada@provider.example"]) as noticer:
        assert await noticer.tell(clock.now()) == 2
    server.answers.clear()
    later = clock.now() + timedelta(minutes=2)
    async with telling(store, tmp_path, server=address) as noticer:
        assert await noticer.tell(later) == 2
    assert [len(one.rcpts) for one in server.messages] == [1]


async def test_a_case_that_was_committed_long_after_its_time_is_told(
    store: Store, server: FakeServer, tmp_path: Path
) -> None:
    async with telling(store, tmp_path, server=f"127.0.0.1:{server.port}") as noticer:
        begun = clock.now()
        assert await noticer.tell(begun + timedelta(seconds=30)) == 1
        with store.begin() as tx:
            decisions.add(
                tx, begun, case_id="C-2", level=Level.ACCOUNT, subject_id=1, step="x", reason="r", until=None,
                from_state=State.DEACTIVATED, to_state=State.SUSPENDED, evidence={}, set_by="policy",
            )  # fmt: skip
        assert await noticer.tell(begun + timedelta(minutes=1)) == 1
        assert await noticer.tell(begun + timedelta(minutes=1)) == 0
    assert len(server.messages) == 2
