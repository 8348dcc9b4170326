"""The tour: the real program, a real customer's server, real messages, one line and one number a step.

Run by `deploy/quickstart`. Everything lives in demo/ beside the README and is made anew each time.
"""

from __future__ import annotations

import json
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import messages

from relay import clock
from relay.signing import dkim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
GATEPOST = [str(ROOT / ".venv/bin/gatepost"), "-c", str(DEMO / "gatepost.toml")]
REPORTERS = ("mailbox.example", "freepost.example")
BULK_MESSAGES = 2000
VOTES = 18
FORGED = 1000
PATIENCE_SECONDS = 20
#: a client that says RSET more than a hundred times between messages is sent away
POLL_SECONDS = 0.25


@dataclass
class Tour:
    """The running demo, and whether every step held so far."""

    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=dict)
    listeners: dict[str, str] = field(default_factory=dict)
    signers: dict[str, dkim.Signer] = field(default_factory=dict)
    staff: dict[str, str] = field(default_factory=dict)
    held: bool = True
    number: int = 0

    # --- helpers

    def step(self, ok: bool, figure: object, text: str) -> None:  # noqa: FBT001 - reads as a sentence at the call
        """Print one line with one number."""
        self.number += 1
        self.held = self.held and ok
        print(f"{'ok  ' if ok else 'FAIL'} {self.number:2}. {figure!s:>8}  {text}", flush=True)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run one gatepost command and return what it printed."""
        done = subprocess.run(
            [*GATEPOST, *arguments], input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"gatepost {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def start(self, command: list[str]) -> str:
        """Start a process that stays, and return its first line."""
        log = (DEMO / f"{Path(command[0]).name}-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.processes.append(process)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{command[0]} did not start; see {log.name}")
        return line

    def login(self, account: str) -> smtplib.SMTP:
        """Return an ordinary SMTP client after STARTTLS and AUTH."""
        host, _, port = self.listeners["submission"].rpartition(":")
        client = smtplib.SMTP(host, int(port), timeout=60)
        trust = ssl.create_default_context(cafile=str(DEMO / "keys/tls.crt"))
        trust.check_hostname = False
        client.starttls(context=trust)
        client.login(account, self.passwords[account])
        return client

    def stored(self) -> list[Path]:
        """Return what the customer's server has stored."""
        return sorted((DEMO / "customer-mail").glob("*.eml"))

    def standing(self, account: str) -> dict[str, Any]:
        """Return what `account show --json` says."""
        shown: dict[str, Any] = json.loads(self.run("account", "show", account, "--json"))
        return shown

    def report(self, client: smtplib.SMTP, raw: bytes, reporter: str) -> None:
        """Hand one report to the feedback listener."""
        client.sendmail(f"fbl@{reporter}", ["fbl@relay.example"], raw)

    def feedback(self) -> smtplib.SMTP:
        """Return a client of the feedback listener."""
        host, _, port = self.listeners["feedback"].rpartition(":")
        return smtplib.SMTP(host, int(port), timeout=60)

    # --- the steps

    def set_up(self) -> None:
        """Start a customer's server and a relay with one customer and its accounts."""
        shutil.rmtree(DEMO, ignore_errors=True)
        init = [
            *GATEPOST[:1],
            "init",
            str(DEMO),
            "--hostname",
            "relay.example",
            "--bind",
            "127.0.0.1",
            "--json",
        ]
        init += [
            part
            for name in ("submission", "submissions", "feedback", "http")
            for part in (f"--{name}-port", "0")
        ]
        done = subprocess.run(init, capture_output=True, text=True, check=True)
        self.staff = json.loads(done.stdout)["staff"]
        port = self.start(
            [sys.executable, str(Path(__file__).with_name("customer_server.py")), str(DEMO / "customer-mail")]
        )
        self.run(
            "customer",
            "add",
            "acme",
            "--server",
            f"127.0.0.1:{port.strip()}",
            "--contact",
            "owner@acme.example",
            "--brand",
            "Acme",
        )
        for login, klass in (("alice", "person"), ("garden", "bulk"), ("promo", "bulk")):
            address = f"{login}@acme.example"
            made = json.loads(
                self.run("account", "add", address, "--customer", "acme", "--class", klass, "--json")
            )
            self.passwords[address] = made["password"]
        for name in REPORTERS:
            key, public = dkim.new_key(), DEMO / f"{name}.dkim"
            public.write_text(dkim.dns_record(key))
            self.signers[name] = dkim.Signer(name, "fbl", key)
            self.run("reporter", "add", name, "--covers", name, "--dkim-key", str(public))
        self.listeners = json.loads(self.start([*GATEPOST, "serve"]))["listeners"]
        self.step(
            len(self.listeners) == 4,
            len(self.listeners),
            "listeners accept: " + ", ".join(self.listeners.values()),
        )

    def ordinary_mail_arrives(self) -> None:
        """Send what a person writes."""
        text = (
            "Hello Bob,\n\nthe minutes of Monday's meeting are below. See you on Thursday at ten.\n\nAlice\n"
        )
        message = messages.ordinary(
            "alice@acme.example", "bob@partner.example", "Minutes of Monday", text, clock.now()
        )
        with self.login("alice@acme.example") as client:
            client.send_message(message)
        arrived = [file for file in self.stored() if str(message["Message-ID"]).encode() in file.read_bytes()]
        self.step(
            len(arrived) == 1,
            len(arrived),
            "ordinary message over STARTTLS + AUTH arrived at the customer's server",
        )

    def spam_is_refused(self) -> None:
        """Send GTUBE and a phishing mail."""
        now = clock.now()
        gtube = messages.ordinary(
            "alice@acme.example", "bob@partner.example", "Test", messages.GTUBE + "\n", now
        )
        phish = messages.phishing("alice@acme.example", "bob@partner.example", now)
        for name, message in (("GTUBE", gtube), ("phishing", phish)):
            code, text = self._refusal(message)
            self.step(code == 554, code, f"{name} refused: {text[:160]}")
        self.step(
            len(self.stored()) == 1,
            len(self.stored()),
            "message at the customer's server, still: nothing refused leaked",
        )

    def _refusal(self, message: Any) -> tuple[int, str]:
        with self.login("alice@acme.example") as client:
            try:
                client.send_message(message)
            except smtplib.SMTPDataError as error:
                return error.smtp_code, _text(error.smtp_error)
        return 250, "taken"

    def bulk_is_sent(self) -> None:
        """Let both bulk accounts send, half to each reporter's mailboxes."""
        before, started = len(self.stored()), time.monotonic()
        for login in ("garden@acme.example", "promo@acme.example"):
            with self.login(login) as client:
                for number in range(BULK_MESSAGES):
                    to = f"reader{number}@{REPORTERS[number % 2]}"
                    client.send_message(messages.newsletter(login, to, number, clock.now()))
        rate = 2 * BULK_MESSAGES / (time.monotonic() - started)
        arrived = len(self.stored()) - before
        self.step(
            arrived == 2 * BULK_MESSAGES,
            arrived,
            f"newsletters of two bulk accounts arrived ({rate:.0f} a second, one client)",
        )

    def copies(self, login: str) -> Iterator[bytes]:
        """Yield what recipients of `login` got, oldest first, without the store's own lines."""
        for file in self.stored():
            raw = file.read_bytes()
            if raw.startswith(f"X-Stored-From: {login}\r\n".encode()):
                yield raw.split(b"\r\n", 2)[2]

    def complaints_come(self) -> None:
        """One complaint about one account, eighteen about the other, and a flood that proves nothing."""
        garden, promo = list(self.copies("garden@acme.example")), list(self.copies("promo@acme.example"))
        with self.feedback() as client:
            genuine = self._complaint(garden[0], 0)
            self.report(client, genuine, REPORTERS[0])
            self.step(
                self.settled("garden@acme.example", 1),
                1,
                "complaint about garden@: " + self.standing("garden@acme.example")["standing"],
            )
            started = time.monotonic()
            for number in range(FORGED):
                self.report(client, self._forgery(number, genuine, garden), REPORTERS[number % 2])
            seconds = time.monotonic() - started
        shown = self.standing("garden@acme.example")
        held = shown["standing"] == "active" and shown["tally"]["votes"] == 1
        after = f"votes {shown['tally']['votes']}, {shown['standing']}"
        rate = FORGED / seconds
        self.step(held, FORGED, f"forged and replayed reports moved nothing ({rate:.0f} a second): {after}")
        self.client = self.login("promo@acme.example")
        with self.feedback() as client:
            for number in range(VOTES):
                self.report(client, self._complaint(promo[number], number), REPORTERS[number % 2])
        sent = time.monotonic()
        off = self.wait(lambda: self.rcpt()[0] == 550)
        seconds = time.monotonic() - sent
        shown = self.standing("promo@acme.example")
        text = f"{shown['standing']} by the shipped ladder after {seconds:.1f} s: {shown['reason']}"
        off = off and shown["standing"] == "deactivated"
        self.step(off, VOTES, f"complaints by two reporters about promo@: {text}")

    def rcpt(self) -> tuple[int, str]:
        """Try one recipient in the session of promo@ that is open all the while."""
        self.client.rset()
        self.client.mail("promo@acme.example")
        code, answer = self.client.rcpt("someone@partner.example")
        return code, _text(answer)

    def _complaint(self, copy: bytes, number: int) -> bytes:
        reporter = REPORTERS[number % 2]
        raw = messages.report(
            copy, reporter=reporter, recipient=f"reader{number}@{reporter}", now=clock.now()
        )
        return messages.signed(raw, self.signers[reporter], clock.now())

    def _forgery(self, number: int, genuine: bytes, copies: list[bytes]) -> bytes:
        """Return a replay, a rewrapped replay, an unsigned report with a real token, or a made-up token."""
        reporter = REPORTERS[number % 2]
        kind = number % 4
        if kind == 0:
            return genuine
        if kind == 1:
            return self._complaint(copies[0], 0)
        copy = (
            copies[number]
            if kind == 2
            else copies[number].replace(b"CFBL-Feedback-ID: ", b"CFBL-Feedback-ID: x")
        )
        return messages.report(
            copy, reporter=reporter, recipient=f"reader{number}@{reporter}", now=clock.now()
        )

    def settled(self, account: str, votes: int) -> bool:
        """Wait until an account has this many votes."""
        return self.wait(lambda: self.standing(account)["tally"]["votes"] == votes)

    def wait(self, fact: Callable[[], bool]) -> bool:
        """Ask until it is so; False if it does not come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if fact():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def sending_is_off(self) -> None:
        """Submit in the session that was open all the while."""
        code, answer = self.rcpt()
        case = self.standing("promo@acme.example")["evidence"]["case_id"]
        self.step(code == 550 and case in answer, code, f"next submission refused at RCPT: {answer}")
        done = subprocess.run(
            [*GATEPOST, "explain", case, "--json"], capture_output=True, text=True, check=False
        )
        explained = json.loads(done.stdout)
        same = done.returncode == 0 and explained["same"] is True
        self.step(same, case, "explain recomputes the decision from its evidence: same outcome")

    def staff_reinstate(self) -> None:
        """Switch sending on again."""
        before = len(self.stored())
        self.run("account", "reinstate", "promo@acme.example", "--reason", "list cleaned, owner called")
        client = self.client
        open_again = self.wait(lambda: self.rcpt()[0] == 250)
        client.rset()
        client.send_message(
            messages.newsletter("promo@acme.example", "someone@partner.example", 1, clock.now())
        )
        client.quit()
        arrived = len(self.stored()) - before
        self.step(open_again and arrived == 1, arrived, "message of promo@ arrived after staff reinstated it")

    def stop(self) -> None:
        """End what was started, the relay first."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(35)
            except subprocess.TimeoutExpired:
                process.kill()


def _text(answer: bytes | str) -> str:
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())


def main() -> int:
    """Take the tour; stay up unless --once."""
    tour = Tour()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for step in (
            tour.set_up, tour.ordinary_mail_arrives, tour.spam_is_refused, tour.bulk_is_sent,
            tour.complaints_come, tour.sending_is_off, tour.staff_reinstate,
        ):  # fmt: skip
            step()
        verdict = "every step held" if tour.held else "some steps FAILED"
        print(f"{verdict}, in {time.monotonic() - started:.0f} s", flush=True)
        if "--once" in sys.argv[1:]:
            return 0 if tour.held else 1
        smtp, http, staff = tour.listeners["submission"], tour.listeners["http"], tour.staff
        password = tour.passwords["alice@acme.example"]
        print(f"\nSMTP     {smtp}, STARTTLS, login alice@acme.example, password {password}")
        print(f"console  http://{http}/, login {staff['login']}, password {staff['password']}")
        print(f"try      {' '.join(GATEPOST)} account list\nCtrl-C ends the demo", flush=True)
        tour.processes[-1].wait()
    except KeyboardInterrupt:
        print("\nended")
    finally:
        tour.stop()
    return 0 if tour.held else 1


if __name__ == "__main__":
    sys.exit(main())
