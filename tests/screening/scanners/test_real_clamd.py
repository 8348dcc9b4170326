"""The real clamd, with a signature file of our own; skipped where it is not installed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from screening.scanners.clamd import Clamd
from screening.scanners.guard import Breaker, Guarded, Silent
from tests.screening.mails import mail_of

CLAMD = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin:/usr/local/sbin")
MARK = "gatepost-test-signature-7f3a"


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    """Start clamd on a UNIX socket; wait until it accepts."""
    if CLAMD is None:
        pytest.skip("clamd is not installed")
    with tempfile.TemporaryDirectory() as name:  # a short path: UNIX sockets have little room
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "own.ndb").write_text(f"Own.Test.Mark:0:*:{MARK.encode().hex()}\n", encoding="ascii")
        path = folder / "s"
        (folder / "clamd.conf").write_text(
            f"DatabaseDirectory {folder}\nLocalSocket {path}\nForeground yes\nMaxThreads 2\nUser root\n",
            encoding="ascii",
        )
        process = subprocess.Popen(
            [CLAMD, "-c", str(folder / "clamd.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            asyncio.run(_until_it_accepts(path, process))
            yield path
        finally:
            process.terminate()
            process.wait(10)


async def _until_it_accepts(path: Path, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(20):
        while process.poll() is None:
            try:
                _, writer = await asyncio.open_unix_connection(str(path))
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
    pytest.skip("clamd does not start here")


async def test_the_real_clamd_finds_what_its_signatures_name(socket: Path) -> None:
    clamd = Clamd(lambda: asyncio.open_unix_connection(str(socket)))
    hits = await clamd.ask(mail_of({"files": {"a.bin": f"xx {MARK} xx"}}))
    assert [(hit.rule, hit.score, hit.evidence) for hit in hits] == [
        ("clamd", 20.0, "Own.Test.Mark.UNOFFICIAL")
    ]
    assert await clamd.ask(mail_of({"files": {"a.bin": "harmless"}})) == ()


async def test_a_clamd_that_is_not_there_is_no_clean_answer() -> None:
    clamd = Clamd(lambda: asyncio.open_unix_connection("/nonexistent/clamd"))
    with pytest.raises(Silent):
        await Guarded(clamd, Breaker(lambda: 0.0)).ask(mail_of("hello"))
