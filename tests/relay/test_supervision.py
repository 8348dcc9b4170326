from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from relay import supervision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["file", "abstract"])
def heard(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    abstract = f"gatepost-test-{os.getpid()}"
    given, name = (f"@{abstract}", f"\0{abstract}")
    if request.param == "file":
        given = name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", given)
        yield listening


def test_systemd_hears_each_state(heard: socket.socket) -> None:
    for state in (supervision.READY, supervision.reloading(), supervision.STOPPING):
        supervision.tell(state)
        assert heard.recv(200).decode() == state
    assert supervision.reloading().startswith("RELOADING=1\nMONOTONIC_USEC=")


@pytest.mark.parametrize("given", ["", "relative", "/nowhere/at/all", "@nobody-listens-here"])
def test_nobody_who_listens_is_no_error(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", given)
    supervision.tell(supervision.READY)


@pytest.mark.parametrize(
    ("microseconds", "whose", "seconds"),
    [
        ("60000000", "ours", 60),
        ("", "ours", 0),
        ("soon", "ours", 0),
        ("60000000", "1", 0),
        ("5000000", "", 5),
    ],
)
def test_the_watchdog_is_ours_or_nobodys(
    microseconds: str, whose: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if whose:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if whose == "ours" else whose)
    assert supervision.watchdog_seconds() == seconds


def test_a_loop_that_turns_says_so_again_and_again(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    heard.settimeout(0)

    async def listen() -> None:
        telling = asyncio.ensure_future(supervision.keep_telling())
        for _ in range(3):
            assert await asyncio.get_running_loop().sock_recv(heard, 100) == b"WATCHDOG=1"
        telling.cancel()

    asyncio.run(asyncio.wait_for(listen(), 10))


def test_without_a_watchdog_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    asyncio.run(asyncio.wait_for(supervision.keep_telling(), 10))
