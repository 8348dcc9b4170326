"""Starts the daemon without its second of imports: forked from a process that has imported the program.

From the fork on it is `python -m relay -c FILE serve`, in a session of its own. The starter reads one line
{"config", "output", "log"} per daemon, answers with its process id, and with its exit status when it is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from relay.cli import main
from tests.service.harness import PATIENCE_SECONDS, ROOT, Process, Relay

if TYPE_CHECKING:
    import signal


class Starter:
    """The process that daemons are forked from, one at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.service.faults.warm"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)

    def fork(self, config: Path, output: Path, log: Path) -> int:
        """Start a daemon and return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(
            json.dumps({"config": str(config), "output": str(output), "log": str(log)}) + "\n"
        )
        self._process.stdin.flush()
        return self.heard()

    def heard(self) -> int:
        """Return the next number: a process id, or in turn its exit code, negative for a signal."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it; its daemon is gone already."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()


class Forked:
    """A daemon, with what the harness uses of `subprocess.Popen`."""

    def __init__(self, starter: Starter, relay: Relay) -> None:
        self._starter = starter
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            os.mkfifo(output)
            self.pid = starter.fork(relay.config, output, relay.folder / "serve.log")
            self.stdout: IO[str] | None = output.open()
        self.returncode: int | None = None

    def send_signal(self, number: signal.Signals, /) -> None:
        """Send a signal, as long as it lives."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self, _timeout: float, /) -> int:
        """Wait for the end."""
        if self.returncode is None:
            self.returncode = self._starter.heard()
        return self.returncode


class WarmRelay(Relay):
    """A relay that a starter forks."""

    def __init__(self, folder: Path, starter: Starter) -> None:
        super().__init__(folder)
        self._starter = starter

    def _launch(self) -> Process:
        return Forked(self._starter, self)


def _become(order: dict[str, str]) -> None:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for handle, place in ((os.open(order["output"], os.O_WRONLY), 1), (log, 2)):
        os.dup2(handle, place)
        os.close(handle)
    main(["-c", order["config"], "serve"], prog_name="gatepost")


def _serve_forever() -> None:
    import psycopg
    import uvicorn.lifespan.on
    import uvicorn.protocols.http.auto

    import relay.daemon
    import relay.supervisor

    assert psycopg, (uvicorn, relay)
    for text in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            _become(json.loads(text))
        os.write(1, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _serve_forever()
