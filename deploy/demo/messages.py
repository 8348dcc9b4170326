"""The messages that the tour sends and the reports that come back."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING

from relay.signing.dkim import Signer

if TYPE_CHECKING:
    from datetime import datetime

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

PHISHING_HTML = """<html><body style="font-family:Arial">
<p>Dear Customer,</p>
<p>We detected <b>unusual sign-in activity</b> on your PayPal account. For your protection your account
has been <b>temporarily limited</b>. You must verify your password and billing information within 24 hours
or your account will be permanently suspended.</p>
<p><a href="http://paypa1-secure-login.verify-account.example.top/webscr/login.php?cmd=_login">https://www.paypal.com/signin</a></p>
<p>Failure to verify your account immediately will result in closure.</p>
<p>PayPal Security Department</p></body></html>"""


def ordinary(sender: str, to: str, subject: str, text: str, now: datetime) -> EmailMessage:
    """Return a message as a person's mail client writes it."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip(">"))
    message.set_content(text)
    return message


def newsletter(sender: str, to: str, number: int, now: datetime) -> EmailMessage:
    """Return one copy of a well-made newsletter."""
    text = (
        f"Hello,\n\nhere is issue {number % 7 + 1} of our garden letter: pruning roses, sowing beans.\n\n"
        "To stop it, use the link in the header.\n"
    )
    message = ordinary(sender, to, "The garden letter", text, now)
    domain = sender.rpartition("@")[2].rstrip(">")
    message["List-Id"] = f"<garden.{domain}>"
    message["List-Unsubscribe"] = f"<https://{domain}/u/{number}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return message


def phishing(sender: str, to: str, now: datetime) -> EmailMessage:
    """Return a phishing mail as a stolen account sends it."""
    message = ordinary(
        f'"PayPal Security" <{sender}>', to, "Your account has been limited - action required", "", now
    )
    message.set_content(
        "Verify your account: http://paypa1-secure-login.verify-account.example.top/webscr/login.php\n"
    )
    message.add_alternative(PHISHING_HTML, subtype="html")
    return message


def report(
    original: bytes, *, reporter: str, feedback_type: str = "abuse", recipient: str = "", now: datetime
) -> bytes:
    """Return an ARF report (RFC 5965) about `original`, unsigned."""
    boundary = "=_report"
    about = [f"Feedback-Type: {feedback_type}", "User-Agent: MailboxFeedback/2.1", "Version: 1"]
    about += [f"Original-Rcpt-To: {recipient}"] if recipient else []
    header = message_from_bytes(original, policy=policy.SMTP).get("Message-ID", "")
    lines = [
        f"From: Feedback <fbl@{reporter}>", "To: <fbl@relay.example>", "Subject: Email feedback report",
        f"Date: {format_datetime(now)}", f"Message-ID: {make_msgid(domain=reporter)}", "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=feedback-report; boundary="{boundary}"', "",
        f"--{boundary}", "Content-Type: text/plain; charset=us-ascii", "",
        f"This is a spam report for message {header}.", "",
        f"--{boundary}", "Content-Type: message/feedback-report", "", *about, "",
        f"--{boundary}", "Content-Type: message/rfc822", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n" + original + f"\r\n--{boundary}--\r\n".encode()


def signed(raw: bytes, signer: Signer, now: datetime) -> bytes:
    """Return `raw` with the reporter's DKIM signature."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return signer.sign(head + b"\r\n", body, now) + raw
