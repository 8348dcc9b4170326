"""DU-21 and DU-22: what is durable before the promise, and disks that fail or are full."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.service.faults.book import SENDER
from tests.service.faults.site import Site
from tests.service.faults.stores import Sqlite
from tests.service.faults.test_stores import ready
from tests.service.harness import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.faults.warm import Starter
    from tests.service.wire import Client

pytestmark = pytest.mark.service

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
SYNCS = "fsync,fdatasync"


@contextlib.contextmanager
def strace(site: Site, log: Path, *what: str) -> Iterator[None]:
    """Attach strace to the daemon meanwhile."""
    assert site.relay.process is not None
    command = ["strace", "-f", "-yy", "-s", "16", "-o", str(log), "-p", str(site.relay.process.pid), *what]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        if b"attached" not in said:
            pytest.skip(f"strace may not attach here: {said.decode()}")
        yield
    finally:
        tracer.terminate()
        tracer.wait(PATIENCE_SECONDS)
        tracer.stderr.close()


def returned(lines: list[str]) -> list[str]:
    """Return system calls in the order in which they came back."""
    begun: dict[str, str] = {}
    whole = []
    for line in lines:
        process, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[process] = line.removesuffix("<unfinished ...>").rstrip()
        elif "resumed>" in rest:
            whole.append(begun.pop(process, "") + rest.partition("resumed>")[2])
        else:
            whole.append(line)
    return whole


@needs_strace
@pytest.mark.parametrize("large", [False, True])
def test_du_21_all_is_synced_before_the_250_is_written(
    on_sqlite: Site, tmp_path: Path, *, large: bool
) -> None:
    """File, rename, folders, database; only then does anything go to the client's socket."""
    log = tmp_path / "strace.log"
    trace = f"trace={SYNCS},rename,renameat,renameat2,write,writev,sendto,sendmsg"
    with on_sqlite.client() as client:
        port = client.address[1]
        with strace(on_sqlite, log, "-e", trace):
            assert on_sqlite.send(client, "later", large=large)[0].startswith(b"250")
    lines = returned(log.read_text().splitlines())
    ours = [n for n, line in enumerate(lines) if f"->127.0.0.1:{port}]>" in line]
    promise, before = ours[-1], ours[-2]
    steps = [r"f(data)?sync\(\d+<\S*gatepost\.db-wal>\)"]
    if large:
        spool = r"\S*/spool"
        steps[:0] = [
            rf"fsync\(\d+<{spool}/\S\S/\.\S+>\)", rf"rename\S*\(.*{spool}/",
            rf"fsync\(\d+<{spool}/\S\S>\)", rf"fsync\(\d+<{spool}>\)",
        ]  # fmt: skip
    place = before
    for step in steps:
        place = next((n for n in range(place + 1, promise) if re.search(step, lines[n])), -1)
        assert place > 0, f"not before the promise, or out of order: {step}"
    assert on_sqlite.settle() == []


@needs_strace
def test_du_21_a_spool_that_cannot_be_synced_takes_nothing_that_waits_and_says_so(
    on_sqlite: Site, tmp_path: Path
) -> None:
    folder = on_sqlite.relay.folder / "spool"
    with on_sqlite.client() as client:
        fail = ("-P", str(folder), "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO")
        with strace(on_sqlite, tmp_path / "strace.log", *fail):
            assert on_sqlite.send(client, "later", large=True)[0].startswith(b"451")
        # the kernel may have dropped what it could not write: it is trusted again after a while
        assert on_sqlite.send(client, "later")[0].startswith(b"451")
        assert on_sqlite.send(client, "now")[0].startswith(b"250")
        assert ready(on_sqlite) == 503
        until(lambda: ready(on_sqlite) == 200)
        assert on_sqlite.send(client, "later", large=True)[0].startswith(b"250")
    assert on_sqlite.settle() == []


@needs_strace
@pytest.mark.parametrize(
    ("calls", "error"),
    [
        pytest.param(SYNCS, "EIO", id="du_21_failing_fsync"),
        pytest.param("pwrite64", "EROFS", id="du_24_read_only"),
    ],
)
def test_a_disk_that_fails_is_451_and_nothing_is_taken_until_it_works_again(
    on_sqlite: Site, tmp_path: Path, calls: str, error: str
) -> None:
    with on_sqlite.client() as client:
        fail = ("-e", f"trace={calls}", "-e", f"inject={calls}:error={error}")
        with strace(on_sqlite, tmp_path / "strace.log", *fail):
            for large in (True, False):  # the second finds the store red
                assert on_sqlite.send(client, "later", large=large)[0].startswith(b"451")
            until(lambda: ready(on_sqlite) == 503)
            # mail that could be handed on is not taken either
            assert on_sqlite.send(client, "now")[0].startswith(b"451")
        until(lambda: ready(on_sqlite) == 200)
        assert on_sqlite.send(client, "later")[0].startswith(b"250")
    assert on_sqlite.settle() == []


# --- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,nr_inodes=200,mode=700", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Fill a disk but for so many bytes."""
    place = disk / "filling"
    with place.open("wb", buffering=0) as file:
        free = shutil.disk_usage(disk).free - leave
        while free > 0:
            free -= file.write(bytes(min(free, 1 << 20)))
    return place


def offer(client: Client, number: int, size: int) -> bytes:
    """Ask whether a message of so many bytes may come, for a recipient that is put off."""
    assert client.say(b"MAIL FROM:<%s> SIZE=%d" % (SENDER.encode(), size)).startswith(b"250")
    answer = client.say(b"RCPT TO:<later-%d@load.example>" % number)
    client.say(b"RSET")
    return answer


def test_du_22_a_full_spool_is_452_early_and_recovers_by_itself(
    tmp_path: Path, starter: Starter, small_disk: Path
) -> None:
    store = Sqlite(tmp_path)
    outbox = f'first_retry = "200ms"\nlongest_retry = "1s"\nfolder = "{small_disk}/spool"'
    with Site(tmp_path, store, starter=starter, outbox=outbox) as site:
        site.relay.start()
        with site.client() as client:
            assert site.send(client, "later", large=True)[0].startswith(b"250")
            site.drain()
            filling = fill(small_disk, leave=1 << 20)
            until(lambda: offer(client, site.book.new("later", large=False).number, 4 << 20)[:3] == b"452")
            filling.unlink()
            filling = fill(small_disk, leave=64 << 10)
            # said at the dot where the size was not told, whatever was free a moment ago
            answer, entry = site.send(client, "dot", large=True)
            assert answer.startswith(b"452 4.3.1"), answer
            assert not any((small_disk / "spool").rglob("*-*")), "a cut copy stays"
            assert site.send(client, "now", large=True)[0].startswith(b"250"), "needs no room"
            filling.unlink()
            until(lambda: site.send(client, "later", large=True)[0].startswith(b"250"))
        assert not entry.copies
        assert site.settle() == []
    store.close()


def test_du_22_a_full_disk_of_the_database_promises_nothing_and_recovers_by_itself(
    tmp_path: Path, starter: Starter, small_disk: Path
) -> None:
    store = Sqlite(small_disk)
    store.url = f"sqlite:///{small_disk}/gatepost.db"
    with Site(tmp_path, store, starter=starter) as site:
        site.relay.start()
        with site.client() as client:
            assert site.send(client, "later")[0].startswith(b"250")
            site.drain()
            filling = fill(small_disk)
            until(lambda: site.send(client, "later")[0].startswith(b"452"))
            assert site.send(client, "dot")[0].startswith(b"452"), "said at the dot too"
            until(lambda: ready(site) == 503)
            # what could be handed on is not taken either: no record of it could be kept
            assert site.send(client, "now")[0].startswith(b"452")
            filling.unlink()
            until(lambda: ready(site) == 200)
            until(lambda: site.send(client, "later")[0].startswith(b"250"))
        store.home = tmp_path
        site.relay.stop()
    store.close()


def test_du_22_no_inodes_left_is_452_too(tmp_path: Path, starter: Starter, small_disk: Path) -> None:
    store = Sqlite(tmp_path)
    outbox = f'first_retry = "200ms"\nlongest_retry = "1s"\nfolder = "{small_disk}/spool"'
    with Site(tmp_path, store, starter=starter, outbox=outbox) as site:
        site.relay.start()
        with site.client() as client:
            number = 0
            with contextlib.suppress(OSError):
                for number in range(1000):
                    (small_disk / str(number)).touch()
            assert site.send(client, "dot", large=True)[0].startswith(b"452 4.3.1")
            until(lambda: offer(client, site.book.new("later", large=False).number, 1000)[:3] == b"452")
            for path in small_disk.iterdir():
                if path.name.isdigit():
                    path.unlink()
            until(lambda: site.send(client, "later", large=True)[0].startswith(b"250"))
        assert site.settle() == []
    store.close()
