"""A provider with one customer, two bulk accounts and two listed reporters, over a real store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from policies import ladder as ladders
from relay.config import Config
from relay.feedback.intake import Intake
from relay.ids import message_id
from relay.keyring import Key, Keyring
from relay.model import AccountClass, Level, Mode, Standing, State, Tls, UpstreamAuth
from relay.signing import dkim, token
from relay.signing.dkim import Signer
from relay.signing.token import Token
from relay.store import accounts, decisions, journal, reporters, switch, tallies
from relay.store.journal import JournalRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from policies.ladder import Ladder
    from policies.tally import Tally
    from relay.feedback.steps import Outcome
    from relay.model import Account
    from relay.store.decisions import Case
    from relay.store.engine import Store

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RING = Keyring([Key(1, b"k" * 32)])
LADDER: Ladder = ladders.load(None)
#: two listed reporters and one that nobody listed
LOOP = Signer("loop.example", "s", dkim.new_key("ed25519"))
HUB = Signer("hub.example", "s", dkim.new_key("ed25519"))
STRANGER = Signer("stranger.example", "s", dkim.new_key("ed25519"))
DOMAIN_OF = {"loop.example": "a.example", "hub.example": "b.example"}


class Sent:
    """One relayed message and its token."""

    def __init__(self, identifier: str, recipients: Sequence[str], text: str) -> None:
        self.id = identifier
        self.recipients = recipients
        self.token = text


class Scene:
    """Sends, reports, sweeps and looks, at a time that stands still until it is moved."""

    def __init__(self, store: Store, folder: Path, ladder: Ladder | None = LADDER) -> None:
        self.store = store
        self.now = NOON
        self.config = Config(folder=folder)
        self.asked: list[str] = []
        self.dns: dict[str, list[str]] = {}
        with store.begin() as tx:
            accounts.add_customer(
                tx, NOON, "acme", hosts=("127.0.0.1:25",), tls=Tls.NONE, auth=UpstreamAuth.NONE,
                mode=Mode.ENFORCE, contact="", brand="", phone="", parent=None,
            )  # fmt: skip
            for signer in (LOOP, HUB):
                key = dkim.public_key(signer.dns_record()[1].encode())
                reporters.add(tx, NOON, signer.domain, covers=(DOMAIN_OF[signer.domain],), dkim_key=key)
        self.account = self.add("bulk@acme.example")
        self.other = self.add("other@acme.example")
        self.intake = Intake(self.config, store, RING, ladder, txt=self._txt)

    def _txt(self, name: str) -> Awaitable[Sequence[str]]:
        async def answer() -> Sequence[str]:
            self.asked.append(name)
            return self.dns.get(name, [])

        return answer()

    def add(self, login: str, klass: AccountClass = AccountClass.BULK) -> Account:
        with self.store.begin() as tx:
            return accounts.add_account(
                tx, NOON, login, customer="acme", password_hash="h", fingerprint=b"f" * 16, klass=klass
            )

    def send(
        self, recipients: Sequence[str], account: Account | None = None, *, journalled: bool = True
    ) -> Sent:
        """Relay one message."""
        return self.send_all([recipients], account, journalled=journalled)[0]

    def send_all(
        self, lists: Sequence[Sequence[str]], account: Account | None = None, *, journalled: bool = True
    ) -> list[Sent]:
        """Relay a message for each list of recipients."""
        account = account or self.account
        rows, sent = [], []
        for recipients in lists:
            identifier = message_id(self.now)
            pairs = [
                RING.recipient_hash(account.customer.id, one)
                + RING.domain_hash(account.customer.id, one.rpartition("@")[2])
                for one in recipients
            ]
            rows.append(
                JournalRow(
                    identifier, account.id, account.customer.id, self.now, "deliver",
                    recipient_count=len(recipients), recipients=b"".join(pairs), body_hash=b"b" * 16,
                )
            )  # fmt: skip
            one_hash = pairs[0][:16] if len(pairs) == 1 else None
            said = Token(account.id, identifier, self.now, len(pairs), one_hash)
            sent.append(Sent(identifier, recipients, token.seal(RING, said)))
        if journalled:
            with self.store.begin() as tx:
                journal.append(tx, rows)
        return sent

    def send_many(self, number: int, account: Account | None = None) -> list[Sent]:
        """Relay messages to one recipient each, by turns at the domains of the two reporters."""
        return self.send_all([(f"user{i}@{'ab'[i % 2]}.example",) for i in range(number)], account)

    async def take(self, raw: bytes, *, trusted: bool = False) -> Outcome:
        return await self.intake.take(raw, self.now, trusted=trusted)

    async def sweep(self) -> list[str]:
        return await self.intake.sweep(self.now)

    async def complain(self, sent: Sequence[Sent]) -> int:
        """Report each message by the listed reporter of its recipient; how many counted."""
        counted = 0
        for one in sent:
            signer = LOOP if one.recipients[0].endswith("@a.example") else HUB
            counted += (await self.take(arf(one, signer, at=self.now))).counted
        return counted

    def standing(self, account: Account | None = None) -> Standing:
        with self.store.read() as tx:
            return accounts.account_by_id(tx, (account or self.account).id).standing

    def tally(self, account: Account | None = None) -> Tally:
        with self.store.read() as tx:
            fresh = accounts.account_by_id(tx, (account or self.account).id)
            return tallies.tally_of(tx, RING, fresh, self.now)

    def cases(self, account: Account | None = None) -> list[Case]:
        with self.store.read() as tx:
            return decisions.timeline(tx, Level.ACCOUNT, (account or self.account).id)

    def reinstate(self, account: Account | None = None) -> None:
        login = (account or self.account).login
        with self.store.begin() as tx:
            switch.set_by_staff(tx, self.now, Level.ACCOUNT, login, State.ACTIVE, reason="looked at it")

    def pass_time(self, span: timedelta) -> None:
        self.now += span


def arf(
    sent: Sent | str,
    signer: Signer | None = LOOP,
    *,
    at: datetime = NOON,
    kind: str = "abuse",
    named: Sequence[str] | None = None,
    author: str = "",
    wrapping: int = 0,
    more: str = "",
    change: Callable[[str], str] = str,
) -> bytes:
    """Return a report about a message, signed unless `signer` is None; it names the recipients by default."""
    text = sent if isinstance(sent, str) else sent.token
    named = (() if isinstance(sent, str) else sent.recipients) if named is None else named
    domain = signer.domain if signer else "loop.example"
    head = (
        f"From: {author or 'fbl@' + domain}\r\nTo: fbl@relay.example\r\nSubject: report {wrapping}\r\n"
        f"Message-ID: <{wrapping}@{domain}>\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: multipart/report; report-type=feedback-report; boundary=b{wrapping}\r\n"
    )
    said = f"Feedback-Type: {kind}\r\nUser-Agent: Loop/1\r\nVersion: 1\r\n"
    said += "".join(f"Original-Rcpt-To: {one}\r\n" for one in named) + more
    body = (
        f"--b{wrapping}\r\nContent-Type: text/plain\r\n\r\nA report.\r\n"
        f"--b{wrapping}\r\nContent-Type: message/feedback-report\r\n\r\n{said}\r\n"
        f"--b{wrapping}\r\nContent-Type: message/rfc822\r\n\r\nFrom: bulk@acme.example\r\nSubject: Offer\r\n"
        f"CFBL-Feedback-ID: {text}\r\nMessage-ID: <m@acme.example>\r\n\r\nBuy\r\n--b{wrapping}--\r\n"
    )
    fields, content = change(head).encode(), change(body).encode()
    signature = signer.sign(fields, content, at) if signer else b""
    return signature + fields + b"\r\n" + content
