"""The customer's server asked on behalf of one transaction, and its answers turned into ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay.errors import Deferred, Failed
from relay.smtp import reply as replies
from relay.upstream.errors import InDoubt, LoginRefused, Unverified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply
    from relay.upstream.reply import UpstreamReply
    from relay.upstream.transaction import Transaction as Upstream

#: Mail clients give up at 60 s: without the customer's server's answer by then, ours is "in doubt".
ANSWER_SECONDS = 40
#: Our own headers make a message larger than the client declared.
ADDED_BYTES = 8192


def from_upstream(answer: UpstreamReply) -> Reply:
    """Return the customer's server's answer as ours: its code, its status, its words (already sanitised)."""
    detail = answer.status.partition(".")[2] if answer.status[:1] == str(answer.code // 100) else ""
    return replies.make(
        answer.code, detail or {2: "0.0", 4: "0.0", 5: "0.0"}.get(answer.code // 100, "0.0"), answer.text
    )


def from_error(error: Exception) -> Reply:
    """Return the reply to a client when the customer's server could not be asked."""
    match error:
        case InDoubt() | TimeoutError():
            return replies.UPSTREAM_SILENT
        case Unverified():
            return replies.UPSTREAM_INSECURE
        case LoginRefused():
            return replies.UPSTREAM_LOGIN_REFUSED
        case Failed():
            return replies.make(
                554,
                getattr(error, "status", "5.0.0").partition(".")[2],
                "The receiving server cannot take this message",
            )
        case _:
            return replies.UPSTREAM_UNREACHABLE


async def offer(upstream: Upstream, mail_from: MailFrom, to: RcptTo) -> UpstreamReply:
    """Say MAIL and the first RCPT in one write; return the answer that decides about the recipient."""
    size = mail_from.size + ADDED_BYTES if mail_from.size else None
    mail, rcpt = await upstream.mail_rcpt(
        mail_from.sender,
        to.recipient,
        size=size,
        eight_bit=mail_from.body != "7BIT",
        smtputf8=mail_from.smtputf8,
        ret=mail_from.ret,
        envid=mail_from.envid,
        notify=to.notify,
        orcpt=to.orcpt,
    )
    return rcpt if mail.ok else mail


async def replay(upstream: Upstream, mail_from: MailFrom, recipients: Sequence[RcptTo]) -> None:
    """Say MAIL and every RCPT again; Deferred if a recipient that was taken before is refused now."""
    first, *others = recipients
    answer = await offer(upstream, mail_from, first)
    for to in others:
        if not answer.ok:
            break
        answer = await upstream.rcpt(to.recipient, notify=to.notify, orcpt=to.orcpt)
    if not answer.ok:
        await upstream.abandon()
        raise Deferred(f"a recipient taken before DATA was refused after it: {answer.code}")


async def hand_over(upstream: Upstream, pieces: Sequence[bytes]) -> UpstreamReply:
    """Send the message and return the answer to its dot; TimeoutError after 40 s, the wait goes on behind."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return await upstream.data(pieces)
