from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relay.errors import StoreError
from relay.keyring import Keyring
from relay.outbox.spool import ORPHAN_SECONDS, BodyLost, Full, Spool

BODY = b"Subject: x\r\n\r\n" + b"y" * 100_000


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", Keyring.create(tmp_path / "master.keys"))
    spool.prepare()
    return spool


def files(spool: Spool) -> list[Path]:
    return [path for path in spool.folder.rglob("*") if path.is_file()]


async def test_a_body_comes_back_byte_for_byte_and_only_under_its_own_id(spool: Spool) -> None:
    await spool.keep("aaaa", [BODY[:9], b"", BODY[9:]])
    assert await spool.read("aaaa") == BODY
    (file,) = files(spool)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    (spool.folder / "ab").mkdir()
    file.rename(spool.folder / "ab" / "aaab")
    with pytest.raises(BodyLost):
        await spool.read("aaab")


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x01" + b"x" * 60])
async def test_a_damaged_body_is_lost_not_delivered(spool: Spool, damage: bytes) -> None:
    await spool.keep("aaaa", [BODY])
    files(spool)[0].write_bytes(damage)
    with pytest.raises(BodyLost):
        await spool.read("aaaa")


@pytest.mark.parametrize("call", ["fsync", "open", "rename", "mkdir"])
async def test_du_21_a_failing_disk_promises_nothing_and_is_not_trusted_at_once(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    now = [0.0]
    spool._monotonic = lambda: now[0]
    monkeypatch.setattr(Path if call in ("rename", "mkdir") else os, call, broken)
    with pytest.raises(StoreError):
        await spool.keep("aaaa", [BODY])
    monkeypatch.undo()
    assert files(spool) == []
    assert not spool.healthy
    with pytest.raises(StoreError):
        await spool.keep("aaaa", [BODY])
    now[0] = 31
    assert spool.healthy
    await spool.keep("aaaa", [BODY])


async def test_du_22_a_full_disk_is_said_to_be_full_and_recovers(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Full):
        await spool.keep("aaaa", [BODY])
    monkeypatch.undo()
    assert files(spool) == []
    await spool.keep("aaaa", [BODY])
    assert spool.room_for(1000)
    assert not spool.room_for(1 << 60)


async def test_a_body_that_cannot_be_replaced_is_still_there(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail that was taken unscreened and is held at last is written anew, stamped; a full disk loses none."""

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    await spool.keep("aaaa", [BODY])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Full):
        await spool.keep("aaaa", [b"X-Stamp: 1\r\n", BODY])
    monkeypatch.undo()
    assert len(files(spool)) == 1
    assert await spool.read("aaaa") == BODY


async def test_files_without_a_row_are_found_once_they_are_old(spool: Spool) -> None:
    await spool.keep("aaaa", [BODY])
    temporary = files(spool)[0].with_name(".half")
    temporary.write_bytes(b"half")
    now = files(spool)[0].stat().st_mtime
    assert list(spool.orphans(now + ORPHAN_SECONDS - 60)) == []
    assert list(spool.orphans(now + ORPHAN_SECONDS + 60)) == ["aaaa"]
    assert not temporary.exists()


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Spool(tmp_path / "file" / "spool", Keyring.create(tmp_path / "k")).prepare()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_du_21_everything_is_synced_before_the_promise(tmp_path: Path) -> None:
    """File written and synced, renamed, folders synced, database synced; only then the promise."""
    log = tmp_path / "strace.log"
    trace = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,fdatasync,rename,write"]
    done = subprocess.run(
        [*trace, sys.executable, "-m", "tests.relay.outbox.promise", str(tmp_path)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    if b"ptrace" in done.stderr.lower() and done.returncode:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if '"BEGIN"' in line)
    end = next(n for n, line in enumerate(lines) if '"250"' in line)
    steps = (
        r"fsync\(\d+<\S*/spool/\S\S/\.\S+>\)",
        r"rename\(\S+/spool/\S+",
        r"fsync\(\d+<\S*/spool/\S\S>\)",
        r"fsync\(\d+<\S*/spool>\)",
        r"f(data)?sync\(\d+<\S*gatepost\.db-wal>\)",
    )
    place = begin
    for step in steps:
        place = next((n for n in range(place + 1, end) if re.search(step, lines[n])), -1)
        assert place > 0, f"not before the promise, or out of order: {step}"
