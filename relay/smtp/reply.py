"""Every reply that Gatepost gives an SMTP client, and how a reply becomes bytes.

Each refusal says in plain words what happened and what to do. `make` builds the replies that name something
(a number, an address, a case id, the customer's server's words) and cleans what it is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

#: A reply line with code, status and CRLF is at most 512 octets (RFC 5321 §4.5.3.1.5).
_WORDS_PER_LINE_OCTETS = 480
_TEXT_OCTETS = 1_400
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_SPACES = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply line; the class of the enhanced status is the code's first digit (RFC 3463 §2)."""

    code: int
    #: subject.detail of the enhanced status ("7.1"); empty where RFC 2034 §4 wants none (220, 334, 354, EHLO)
    detail: str
    text: str

    @property
    def status(self) -> str:
        """Return the enhanced status code, empty where there is none."""
        return f"{self.code // 100}.{self.detail}" if self.detail else ""

    @property
    def ok(self) -> bool:
        """Return whether the command did what it asked."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """Return whether the client should try again."""
        return 400 <= self.code < 500


def clean(text: str) -> str:
    """Return `text` as printable ASCII on one line; anything else becomes one `?` or space."""
    if text.isascii() and text.isprintable() and "  " not in text:  # nearly always
        return text.strip()[:_TEXT_OCTETS]
    text = text.replace("\r", " ").replace("\n", " ").replace("\t", " ")
    return _SPACES.sub(" ", _UNPRINTABLE.sub("?", text)).strip()[:_TEXT_OCTETS]


def make(code: int, detail: str, text: str) -> Reply:
    """Return a reply whose text may have come from anywhere."""
    return Reply(code, detail, clean(text))


def wire(reply: Reply) -> bytes:
    """Return the octets of a reply; those of the table below are made once."""
    return _WIRE.get(id(reply)) or _encode(reply)


@lru_cache(maxsize=1024)
def _encode(reply: Reply) -> bytes:
    """Return printable ASCII, long text on several lines of at most 512 octets."""
    text = clean(reply.text)
    lines = []
    while len(text) > _WORDS_PER_LINE_OCTETS:
        cut = text.rfind(" ", 1, _WORDS_PER_LINE_OCTETS)
        cut = cut if cut > 0 else _WORDS_PER_LINE_OCTETS
        lines.append(text[:cut])
        text = text[cut:].lstrip()
    lines.append(text)
    status = f"{reply.status} " if reply.detail else ""
    head = [f"{reply.code}-{status}{line}\r\n" for line in lines[:-1]]
    return "".join([*head, f"{reply.code} {status}{lines[-1]}".rstrip(" ") + "\r\n"]).encode("ascii")


# It worked

BYE = Reply(221, "0.0", "Goodbye")
LOGGED_IN = Reply(235, "7.0", "You are logged in")
DONE = Reply(250, "0.0", "OK")
SENDER_OK = Reply(250, "1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "1.5", "Recipient OK")
CANNOT_VERIFY = Reply(252, "1.5", "Addresses are not looked up here; send the message and see")
HELP = Reply(214, "0.0", "Gatepost takes mail from people with an account; ask your provider for help")
START_TLS = Reply(220, "0.0", "Ready to start TLS")
START_DATA = Reply(354, "", "Send the message, end it with a dot on a line of its own")

# The session ends (always 421, RFC 5321 §3.8)

SHUTTING_DOWN = Reply(421, "3.2", "This server is restarting; please connect again in a moment")
TOO_BUSY = Reply(
    421, "3.2", "Too many connections to this server at the moment; please try again in a minute"
)
TOO_MANY_CONNECTIONS = Reply(
    421, "7.0", "Too many connections from your address that are not logged in; close some and try again"
)
CONNECTING_TOO_FAST = Reply(
    421, "7.0", "Too many new connections from your address; wait a minute and try again"
)
TOO_MANY_SESSIONS = Reply(421, "7.0", "Too many sessions of this account at once; close some and try again")
TOO_MANY_ERRORS = Reply(421, "7.0", "Too many errors; closing this connection")
TOO_MUCH_JUNK = Reply(421, "7.0", "Too many commands without a message; closing this connection")
TOO_MANY_LOGIN_FAILURES = Reply(
    421, "7.0", "Too many failed logins; check user name and password, then try again in 15 minutes"
)
TIMED_OUT = Reply(421, "4.2", "Waited too long for the next command; closing this connection")
DATA_TIMED_OUT = Reply(
    421, "4.2", "The message came in too slowly; it was not accepted, please send it again"
)
BROKEN_LINE = Reply(
    421, "5.2", "A command had a bare CR, bare LF or NUL, or was endless; lines must end with CR LF. Closing"
)
NOT_HTTP = Reply(421, "5.2", "This is a mail server and speaks SMTP only; closing this connection")
CHUNK_UNCLEAR = Reply(421, "5.4", "Cannot tell how much data follows this BDAT; closing this connection")

BUG_CLOSING = Reply(421, "3.0", "Something went wrong here; please try again later")

# Try again

BUG = Reply(451, "3.0", "Something went wrong here; the message was not accepted, please try again later")
LOOP_OF_TWO = Reply(
    450, "4.6", "Two programs seem to answer each other; this answer is not taken now, a person's mail is"
)
DISK_FULL = Reply(452, "3.1", "No room for this message at the moment; please try again later")
TOO_BUSY_NOW = Reply(452, "3.1", "Too many large messages at the moment; please try again later")
TOO_MANY_RECIPIENTS = Reply(
    452, "5.3", "Too many recipients in one message; send the rest in another message"
)
LOGIN_BUSY = Reply(454, "7.0", "Logins cannot be checked at the moment; please try again in a minute")

# The command is wrong

BAD_COMMAND = Reply(500, "5.2", "No such command")
LINE_TOO_LONG = Reply(500, "5.2", "Line too long")
BAD_HELO = Reply(501, "5.4", "Say who you are: EHLO name.of.your.computer")
NO_ARGUMENT = Reply(501, "5.4", "This command takes no argument")
ARGUMENT_MISSING = Reply(501, "5.4", "This command needs an argument")
BAD_MAIL = Reply(501, "5.4", "Use MAIL FROM:<address>, with the angle brackets")
BAD_RCPT = Reply(501, "5.4", "Use RCPT TO:<address>, with the angle brackets")
BAD_PARAMETER = Reply(501, "5.4", "A parameter of this command has a wrong value or is given twice")
BAD_SIZE = Reply(501, "5.4", "SIZE takes a number of octets")
BAD_BDAT = Reply(501, "5.4", "Use BDAT octets, or BDAT octets LAST")
BAD_BASE64 = Reply(501, "5.2", "The login is not valid base64")
LOGIN_CANCELLED = Reply(501, "7.0", "Login cancelled")
BAD_LOGIN_FORM = Reply(501, "5.2", "The login is malformed")
NOT_HERE = Reply(502, "5.1", "This command is not available here")
SAY_HELLO_FIRST = Reply(503, "5.1", "Say EHLO first")
MAIL_FIRST = Reply(503, "5.1", "MAIL FROM comes first")
RCPT_FIRST = Reply(503, "5.1", "No recipient was accepted; RCPT TO comes first")
MAIL_TWICE = Reply(503, "5.1", "A message is already being sent; finish it or use RSET")
IN_CHUNKS = Reply(503, "5.1", "This message is being sent with BDAT; finish it or use RSET")
CHUNK_FAILED = Reply(503, "5.1", "An earlier part of this message was refused; use RSET and start again")
TLS_ALREADY = Reply(503, "5.1", "TLS is already on")
LOGIN_TWICE = Reply(503, "5.1", "You are already logged in")
LOGIN_IN_MAIL = Reply(503, "5.1", "Log in before you send a message")
NO_SUCH_MECHANISM = Reply(504, "5.4", "This way to log in is not known; use PLAIN or LOGIN")
NO_SUCH_PARAMETER = Reply(555, "5.4", "A parameter of this command is not known here")

# Not allowed, or not possible

TLS_FIRST = Reply(530, "7.0", "Switch TLS on first: use STARTTLS, or set SSL/TLS in your mail program")
LOGIN_FIRST = Reply(
    530, "7.0", "Log in first: switch on authentication for outgoing mail in your mail program"
)
LOGIN_NEEDS_TLS = Reply(538, "7.11", "Switch TLS on before you log in: use STARTTLS")
BAD_LOGIN = Reply(535, "7.8", "User name or password is wrong; check both in your mail program")
BAD_SENDER = Reply(553, "1.7", "The sender's address is not valid; check its spelling")
BAD_RECIPIENT = Reply(553, "1.3", "The recipient's address is not valid; check its spelling")
SENDER_NEEDS_UTF8 = Reply(
    553, "6.7", "The sender's address has other letters than ASCII; your mail program must use SMTPUTF8"
)
RECIPIENT_NEEDS_UTF8 = Reply(
    553, "6.7", "The recipient's address has other letters than ASCII; your mail program must use SMTPUTF8"
)
TOO_BIG = Reply(552, "3.4", "The message is bigger than this server takes; send large files by link instead")
BROKEN_TEXT = Reply(
    554,
    "6.0",
    "The message has a bare CR, bare LF or NUL; lines must end with CR LF. Update the program that made it",
)
TEXT_LINE_TOO_LONG = Reply(
    554,
    "6.0",
    "A line of the message is longer than 998 octets; the program that made it must encode or wrap it",
)
GLUED_HEADER = Reply(
    554, "6.0", "The first header line starts with a blank; the program that made the message is faulty"
)
LOOP = Reply(554, "4.6", "The message has passed through too many servers; it seems to run in a circle")
HEADERS_TOO_BIG = Reply(554, "6.0", "The message has too many or too long header lines")

# Behind the door: the account and the customer's server

LOCAL_PROBLEM = Reply(
    451, "3.0", "A local problem, not yours; please send the message again in a few minutes"
)
NOT_SCREENED = Reply(
    451, "7.0", "The message could not be checked just now; please send it again in a few minutes"
)
UPSTREAM_UNREACHABLE = Reply(
    451, "4.1", "Your mail server cannot be reached just now; please try again later"
)
UPSTREAM_SILENT = Reply(
    451, "4.2", "Your mail server has not answered yet; please try again in a few minutes"
)
UPSTREAM_INSECURE = Reply(
    451, "7.5", "Your mail server cannot be reached securely; please tell your provider"
)
UPSTREAM_LOGIN_REFUSED = Reply(451, "7.0", "Your mail server refused our login; please tell your provider")
PASSWORD_CHANGED = Reply(
    451,
    "7.8",
    "Your mail server no longer takes this password; enter the new one in your mail program",
)
CREDENTIAL_BLOCKED = Reply(
    525, "7.13", "This password was blocked because it was misused; ask your provider for a new one"
)
ACCOUNT_CLOSED = Reply(525, "7.13", "This account is closed; ask your provider")
SENDER_NOT_YOURS = Reply(
    550, "7.1", "You may not send as this address; use your own, or ask your provider to allow it"
)

#: by identity: the table's replies live as long as the process
_WIRE = {id(reply): _encode(reply) for reply in tuple(globals().values()) if isinstance(reply, Reply)}
