"""CO-20: what a hostile client does to the HTTP port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from relay.console import server
from tests.relay.console.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.relay.console.conftest import World


@pytest.fixture
def port(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(server.PunctualProtocol, "request_seconds", 0.5)
    with served(world.app()) as port:
        yield port


def talk(port: int, *chunks: bytes) -> bytes:
    """Send chunks, then read until the server hangs up."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        try:
            for chunk in chunks:
                client.sendall(chunk)
            while data := client.recv(65536):
                answer += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    return answer


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
LOGIN = b"POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + _FORM


def test_an_ordinary_request_is_answered(port: int) -> None:
    assert talk(port, HEALTH).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        LOGIN + b"Content-Length: 1000\r\n\r\nname=a",
        LOGIN + b"Transfer-Encoding: chunked\r\n\r\n5\r\nname=\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HT",
    ],
    ids=["silent", "request line", "header", "body", "chunked body", "second request"],
)
def test_co_20_a_request_that_never_ends_is_cut(port: int, begun: bytes) -> None:
    talk(port, begun)  # returns because the server hangs up
    assert talk(port, HEALTH).startswith(b"HTTP/1.1 200")


def test_co_20_a_megabyte_of_headers(port: int) -> None:
    answer = talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: " + b"a" * 1_000_000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert talk(port, HEALTH).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        LOGIN + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEALTH,
        LOGIN + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd" + HEALTH,
        LOGIN + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HEALTH,
        LOGIN + b"Content-Length: -1\r\n\r\n" + HEALTH,
        LOGIN + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + HEALTH,
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n" + HEALTH,
        b"GET / HTTP/1.1\nHost: x\n\n\0\xff" + HEALTH,
    ],
    ids=["CL+TE", "two CL", "odd TE", "negative", "5,000 digits", "space before colon", "garbage"],
)
def test_co_20_two_lengths_hide_no_second_request(port: int, request_bytes: bytes) -> None:
    answer = talk(port, request_bytes)
    assert b'{"status":"ok"}' not in answer
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 303"))
    assert talk(port, HEALTH).startswith(b"HTTP/1.1 200")


def test_x_forwarded_for_is_not_read_by_the_server_itself(port: int) -> None:
    form = b"name=a&password=b&csrf=c"
    head = (
        LOGIN
        + b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nContent-Length: %d\r\n\r\n"
        % len(form)
    )
    answer = talk(port, head + form)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"strict-transport-security" not in answer
