"""Real ham through the real daemon: what leaves is what came, below our own headers."""

from __future__ import annotations

import random
import re
import shutil
import smtplib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.harness import CustomerServer, Relay

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(600)]

DATA = ROOT.parent / "shared/data"
MESSAGES = 1000
ROBOT = "robot@acme.example"
REMOVED = re.compile(
    rb"(?im)^(?:bcc|resent-bcc|cfbl-address|cfbl-feedback-id|feedback-id|x-(?:spam|gatepost)-[^:]*)[ \t]*:"
    rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*"
)
OURS = re.compile(
    rb"\A(?:(?:Received|DKIM-Signature|CFBL-Address|CFBL-Feedback-ID|Feedback-ID|X-Gatepost-Verdict):"
    rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+"
)


@pytest.fixture(scope="module")
def ham(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Return ham of the development data as a mail client would submit it."""
    if not (DATA / "dev.tar.zst").exists():
        pytest.skip("../shared/data is not here")
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    folder: Path = tmp_path_factory.mktemp("dev")
    lines = (DATA / "dev-index.tsv").read_text().splitlines()
    columns = [line.split("\t") for line in lines[1:]]
    names = sorted(row[0] for row in columns if row[1] == "ham")
    chosen = random.Random(2).sample(names, MESSAGES)  # noqa: S311 - a repeatable choice
    archive = subprocess.run(["zstd", "-dc", DATA / "dev.tar.zst"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    paths = {path.stem: path for path in folder.rglob("clean/*.eml")}
    return [crlf(paths[name].read_bytes()) for name in chosen]


def crlf(raw: bytes) -> bytes:
    raw = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def test_ham_leaves_as_it_came_below_our_headers(
    relay: Relay, customer: CustomerServer, ham: list[bytes]
) -> None:
    taken: list[bytes] = []
    refused: dict[str, int] = {}
    client = relay.client(ROBOT)
    for raw in ham:
        try:
            client.sendmail(ROBOT, ["bob@partner.example"], raw)
            taken.append(raw)
        except smtplib.SMTPDataError as error:
            reason = f"{error.smtp_code} {error.smtp_error!r:.90}"
            refused[reason] = refused.get(reason, 0) + 1
    client.quit()
    held = relay.rows("held", "list")
    arrived = {OURS.sub(b"", stored.raw) for stored in customer.messages}
    assert len(customer.messages) + len(held) == len(taken)
    missing = [raw for raw in taken if REMOVED.sub(b"", raw) not in arrived]
    assert len(missing) <= len(held), missing[:1]
    # what real mail is refused for is broken form (NUL, over-long lines, two From), never a guess
    print(refused, "held", len(held))
    assert len(refused) < MESSAGES * 0.02
