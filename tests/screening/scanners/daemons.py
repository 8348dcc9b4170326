"""Real clamd and rspamd with rules of our own; whoever asks for one that is not installed is skipped."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

SBIN = "/usr/bin:/usr/sbin:/usr/local/sbin"
MARK = "gatepost-test-signature-7f3a"
SIGNATURE = "Own.Test.Mark"


@contextmanager
def clamd() -> Iterator[Path]:
    """Run clamd on a UNIX socket, and yield its path once it accepts."""
    program = shutil.which("clamd", path=SBIN)
    if program is None:
        pytest.skip("clamd is not installed")
    with tempfile.TemporaryDirectory() as name:  # a short path: UNIX sockets have little room
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "own.ndb").write_text(f"{SIGNATURE}:0:*:{MARK.encode().hex()}\n", encoding="ascii")
        path, conf = folder / "s", folder / "clamd.conf"
        conf.write_text(
            f"DatabaseDirectory {folder}\nLocalSocket {path}\nForeground yes\nMaxThreads 2\nUser root\n",
            encoding="ascii",
        )
        with _running([program, "-c", str(conf)], (socket.AF_UNIX, str(path))):
            yield path


@contextmanager
def rspamd() -> Iterator[str]:
    """Run rspamd with one rule of our own, and yield its HOST:PORT once it accepts."""
    program = shutil.which("rspamd", path=SBIN)
    if program is None:
        pytest.skip("rspamd is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
        folder.chmod(0o777)
        (folder / "tlds").write_text("com\nexample\n", encoding="ascii")
        (folder / "own.lua").write_text(
            'rspamd_config:register_symbol({ name = "OWN_MARK", score = 8.0, callback = function(task)\n'
            f'  if string.find(tostring(task:get_content()), "{MARK}", 1, true) then return true end\n'
            "end})\n",
            encoding="ascii",
        )
        (folder / "rspamd.conf").write_text(
            f'options {{ tempdir = "{folder}"; dbdir = "{folder}"; filters = ""; url_tld = "{folder}/tlds";\n'
            '  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; } }\n'
            'logging { type = "console"; level = "warning"; }\n'
            f'worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}\n'
            "actions { reject = 15; add_header = 6; greylist = 4; }\n"
            f'lua = "{folder}/own.lua"\n',
            encoding="ascii",
        )
        command = [program, "-f", "-i", "-c", f"{folder}/rspamd.conf", "-u", "nobody", "-g", "nogroup"]
        with _running(command, (socket.AF_INET, ("127.0.0.1", port))):
            yield f"127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], where: tuple[int, str | tuple[str, int]]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            with closing(socket.socket(where[0])) as client:
                if client.connect_ex(where[1]) == 0:
                    yield
                    return
            time.sleep(0.05)
        pytest.skip(f"{command[0]} does not start here")
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
