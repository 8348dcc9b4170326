"""What a client is told of its customer's server's answer, or of the want of one; pure."""

from __future__ import annotations

from functools import lru_cache

from relay.errors import ConfigError, Failed, StoreError
from relay.outbox.spool import Full
from relay.smtp import reply as replies
from relay.smtp.reply import Reply
from relay.upstream.errors import InDoubt, LoginRefused, Unverified
from relay.upstream.reply import UpstreamReply


@lru_cache(maxsize=1024)
def from_upstream(answer: UpstreamReply) -> Reply:
    """Return the customer's server's answer as ours: its code, its status, its words (already sanitised).

    Clients know 250 alone as a yes, and what is neither yes nor no (3xx) is not for them at all.
    """
    if answer.ok:
        answer = UpstreamReply(250, answer.status, answer.text)
    elif answer.code < 400:
        return replies.UPSTREAM_SILENT
    agrees = answer.status[:1] == str(answer.code // 100)
    return replies.make(answer.code, answer.status.partition(".")[2] if agrees else "0.0", answer.text)


def from_error(error: Exception) -> Reply:
    """Return the reply to a client when its message neither went out nor waits."""
    match error:
        case InDoubt() | TimeoutError():
            return replies.UPSTREAM_SILENT
        case Unverified():
            return replies.UPSTREAM_INSECURE
        case LoginRefused():
            return replies.UPSTREAM_LOGIN_REFUSED
        case Full():
            return replies.DISK_FULL
        case StoreError() | ConfigError():
            return replies.LOCAL_PROBLEM
        case Failed():
            status = getattr(error, "status", "5.0.0")
            return replies.make(
                554, status.partition(".")[2], "The receiving server cannot take this message"
            )
        case _:
            return replies.UPSTREAM_UNREACHABLE
