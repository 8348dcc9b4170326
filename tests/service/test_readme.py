"""Every command of the README runs as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import ROOT, CustomerServer, Relay

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.service

README = (ROOT / "README.md").read_text()


def block(title: str) -> list[list[str]]:
    """Return the commands of one section, comments dropped."""
    section = README.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_first_set_up_leads_to_a_relay_that_serves(tmp_path: Path, customer: CustomerServer) -> None:
    home = tmp_path / "gatepost"
    serve = None
    for command in block("First real set-up"):
        program, *arguments = command
        if program in ("deploy/venv", "cd"):
            continue
        assert program.endswith("gatepost")
        arguments = [
            argument.replace("/etc/gatepost", str(home)).replace(
                "mail.acme.example:25", f"127.0.0.1:{customer.port}"
            )
            for argument in arguments
        ]
        if arguments[0] == "init":
            arguments += [
                part
                for door in ("submission", "submissions", "feedback", "http")
                for part in (f"--{door}-port", "0")
            ]
        if arguments == ["serve"]:
            serve = Relay(home)
            continue
        done = subprocess.run(
            [str(ROOT / ".venv/bin/gatepost"), *arguments], cwd=home if home.exists() else tmp_path,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert serve is not None
    with serve:
        serve.start()
        assert serve.stop() == 0


def test_every_link_and_path_of_the_readme_is_there() -> None:
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:deploy|tests|relay|screening|policies)/[\w./]*)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_quickstart_holds_every_step() -> None:
    done = subprocess.run(
        [str(ROOT / "deploy/quickstart"), "--once"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every step held" in done.stdout
    assert "FAIL" not in done.stdout
