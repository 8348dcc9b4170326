"""The feedback listener's door: takes reports for its own addresses, answers nobody (CASES CF-13).

At the domain of return paths it takes genuine ones alone, and what comes there goes on to the sender.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import clock
from relay.errors import StoreError
from relay.feedback.returned import Crowded
from relay.smtp import reply as replies
from relay.smtp.reply import make

if TYPE_CHECKING:
    from relay.config import Config
    from relay.feedback.intake import Intake
    from relay.signing.returns import Returned
    from relay.smtp.content import Content
    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session

_NOT_OURS = make(550, "7.1", "Only reports are taken here, and this is no address for them")
_NO_LOGIN = make(535, "7.8", "Nobody logs in here")
_TAKEN = make(250, "0.0", "Thank you, the report is taken")
_CROWDED = make(450, "7.1", "Too much came back to this message already; try again tomorrow")
_TOO_BIG = make(552, "3.4", "The report is too large; send the headers alone")


class FeedbackDoor:
    """Takes any sender, the configured recipients, and hands each message to the intake."""

    needs_login = False

    def __init__(self, config: Config, intake: Intake) -> None:
        self._intake = intake
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take the addresses of a (re)loaded configuration."""
        self._addresses = frozenset(address.lower() for address in config.feedback.addresses)
        self._most = config.feedback.message_size

    async def authenticate(self, session: Session, login: str, password: str, mechanism: str) -> Reply:
        """Refuse: there are no logins here."""
        del session, login, password, mechanism
        return _NO_LOGIN

    def guessed(self, session: Session, login: str) -> None:
        """Hear nothing: nobody logs in here."""

    async def mail(self, session: Session, command: MailFrom) -> Reply:
        """Take any sender, the null sender too."""
        session.notes = []
        return _TOO_BIG if command.size is not None and command.size > self._most else replies.SENDER_OK

    async def rcpt(self, session: Session, command: RcptTo) -> Reply:
        """Take our own addresses alone (a +tag behind the local part too); this is no relay."""
        if self._intake.returns.is_ours(command.recipient) and (
            said := self._intake.returns.open(command.recipient, clock.now())
        ):
            session.notes = [*(session.notes or ()), said]
            return replies.RECIPIENT_OK
        local, _, domain = command.recipient.lower().rpartition("@")
        plain = f"{local.partition('+')[0]}@{domain}"
        return replies.RECIPIENT_OK if {plain, f"{local}@{domain}"} & self._addresses else _NOT_OURS

    async def slow(self, session: Session) -> None:
        """Hold nothing that a slow sender could keep."""

    async def data(self, session: Session, content: Content) -> Reply:
        """Take the report in; 250 once it is recorded. Nothing is ever sent back."""
        returned: list[Returned] = session.notes or []
        session.notes = []
        if content.size > self._most:
            return _TOO_BIG
        try:
            if not returned:
                await self._intake.take(content.read(), clock.now())
            for said in returned:
                await self._intake.take_returned(content.read(), said, session.peer_ip, clock.now())
        except Crowded:
            return _CROWDED
        except StoreError:
            return replies.LOCAL_PROBLEM  # the reporter tries again
        return _TAKEN

    async def abandon(self, session: Session) -> None:
        """Forget where the message would have gone."""
        session.notes = []

    def answered(self, session: Session, *, heard: bool) -> None:
        """Forget it: a report that comes twice counts once."""
