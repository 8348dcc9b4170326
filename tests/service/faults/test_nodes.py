"""DU-28 and DU-29: several nodes on one PostgreSQL, one of them cut off from it, stopped or killed."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.service.faults.book import SENDER
from tests.service.faults.stores import Postgres
from tests.service.harness import Relay, until
from tests.service.wire import Client
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.faults.site import Site

pytestmark = pytest.mark.service

NAME = ".s.PGSQL.5432"


class Wire:
    """The way of one node to the database, which can be cut."""

    def __init__(self, near: Path, far: Path) -> None:
        self._far = far
        self._whole = True
        self._ends: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(near / NAME))
        self._listening.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                other = socket.socket(socket.AF_UNIX)
                if not self._whole:
                    one.close()
                    other.close()
                    continue
                other.connect(str(self._far / NAME))
                self._ends += [one, other]
                for source, target in ((one, other), (other, one)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut every connection, and let none through."""
        self._whole = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let new connections through."""
        self._whole = True

    def close(self) -> None:
        """Close everything."""
        self.cut()
        self._listening.close()
        for end in self._ends:
            end.close()


def node(site: Site, home: Path, near: Path | None = None) -> Relay:
    """Return another node, not started yet: same keys, same spool; `near`: where its wire to the store is."""
    assert isinstance(site.store, Postgres)
    first = site.relay
    (home / "keys").mkdir()
    for key in (first.folder / "keys").iterdir():
        (home / "keys" / key.name).write_bytes(key.read_bytes())
        (home / "keys" / key.name).chmod(0o600)
    text = first.config.read_text()
    (home / "gatepost.toml").write_text(
        re.sub(r"host=[^\"]+", f"host={near or site.store.server.folder}", text)
    )
    relay = Relay(home)
    relay.configure("outbox", f'folder = "{first.folder / "spool"}"')
    relay.passwords = first.passwords
    return relay


@pytest.fixture
def second(on_postgres: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, Wire]]:
    """A second node, and its wire to the database."""
    assert isinstance(on_postgres.store, Postgres)
    near = tmp_path_factory.mktemp("w")
    wire = Wire(near, on_postgres.store.server.folder)
    with node(on_postgres, tmp_path_factory.mktemp("second"), near) as relay:
        yield relay.start(), wire
    wire.close()


def test_du_28_a_node_cut_off_from_the_store_takes_nothing_and_the_others_go_on(
    on_postgres: Site, second: tuple[Relay, Wire]
) -> None:
    site, (relay, wire) = on_postgres, second
    with site.client() as near, Client(relay, SENDER) as far:
        assert site.send(far, "later")[0].startswith(b"250")
        wire.cut()
        began = steady()
        assert site.send(far, "later")[0].startswith(b"451")
        assert steady() - began < 12
        # what waits here is delivered by the other
        assert site.send(near, "later")[0].startswith(b"250")
        site.store.age_leases()
        assert site.drain() == []
        wire.mend()

        def taken() -> bool:
            return site.send(far, "later")[0].startswith(b"250")

        until(taken)
    assert relay.stop() == 0
    site.store.age_leases()
    assert site.settle() == []


def test_du_29_what_a_stopped_and_a_dead_node_had_leaves_by_another_and_once(
    on_postgres: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The stopped one goes on after its lease has run out: it sends nothing, and writes nothing."""
    site, server, sleeper = on_postgres, on_postgres.upstream, on_postgres.relay
    dead, heir = (node(site, tmp_path_factory.mktemp(name)) for name in ("dead", "heir"))
    site.relay.run("customer", "change", "acme", "--forward", "queue")
    assert sleeper.stop() == 0
    sleeper.configure("upstream", 'reply_timeout = "5min"')  # its connection outlives its sleep
    sleeper.start()
    assert sleeper.process is not None
    server.silent = "RCPT"
    with dead, heir:
        with site.client() as client:
            answer, slept_on = site.send(client, "now")
        assert answer.startswith(b"250")
        until(lambda: server.hushed == 1)
        sleeper.process.send_signal(signal.SIGSTOP)
        with Client(dead.start(), SENDER) as client:
            answer, died_on = site.send(client, "now", large=True)
        assert answer.startswith(b"250")
        until(lambda: server.hushed == 2)
        dead.kill()
        dead.wait_for_death()
        heir.start()
        server.silent = ""  # the sleeper's answer waits in its socket from here on
        until(lambda: died_on.copies and slept_on.copies)
        assert server.hushed == 2, "nobody else tried while a lease ran"
        sleeper.process.send_signal(signal.SIGCONT)
        until(lambda: [e for e in sleeper.events("delivery") if e["answer"].startswith("the lease ran out")])
        with site.client() as client:
            assert site.send(client, "now")[0].startswith(b"250")
        assert site.drain() == []
        assert heir.stop() == 0
    assert site.settle() == []
    assert [sum(entry.copies.values()) for entry in site.book.entries] == [1, 1, 1]
