"""What arguments and options take on the command line."""

from __future__ import annotations

import re
from typing import Any

import click
import idna

from relay.values import MAILBOX, STAFF_NAME, split_address

#: characters of the longest address there is (RFC 5321 §4.5.3.1)
_LONGEST = 254


class HostPort(click.ParamType[str, str]):
    """HOST:PORT on the command line."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it is one."""
        try:
            split_address(value)
        except ValueError:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return str(value)


class Line(click.ParamType[str, str]):
    """A login or a name: words on one line, which lists, logs and replies show as they are."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it without blanks around it."""
        text = str(value).strip()
        if not text or len(text) > _LONGEST or not text.isprintable():
            self.fail(f"{text[:60]!r} is no name: 1 to {_LONGEST} characters that can be seen", param, ctx)
        return text


class _Formed(click.ParamType[str, str]):
    """A text of one form: `form` is its pattern, `says` what it is, for whoever wrote another."""

    form = ""
    says = ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it is one."""
        if not re.fullmatch(self.form, str(value)):
            self.fail(f"{value!r} is no {self.says}", param, ctx)
        return str(value)


class StaffName(_Formed):
    """What a member of staff is called."""

    name = "NAME"
    form = STAFF_NAME
    says = "name: letters, digits and . _ @ -, 60 at most"


class CustomerName(_Formed):
    """A customer's name: it stands in configuration, addresses of pages and headers of mail."""

    name = "NAME"
    form = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
    says = "name: letters, digits, dots and dashes, 63 at most; any words by --brand"


class Mailbox(_Formed):
    """A mail address on the command line; an empty text takes it away."""

    name = "ADDRESS"
    form = f"|{MAILBOX}"
    says = "mail address"


class Sender(Line):
    """Whom an account may send as: an address, all of a domain, or anybody."""

    name = "PATTERN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it is one."""
        text = str(value).strip()
        if text != "*" and not re.fullmatch(r"[^\s@]*@[^\s@*]+", text):
            self.fail(f"{text[:60]!r} is no sender: write ADDRESS, @DOMAIN or *", param, ctx)
        return super().convert(text, param, ctx)


class Domain(click.ParamType[str, str]):
    """A domain on the command line, as DNS has it."""

    name = "DOMAIN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it in small letters, names of other scripts as `xn--…`."""
        text = str(value).rstrip(".").lower()
        try:
            text = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError:
            text = ""
        if not re.fullmatch(r"(?=.{4,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", text):
            self.fail(f"{value!r} is no domain such as mail.example", param, ctx)
        return text


class LoginAndFile(click.ParamType[tuple[str, str], str]):
    """LOGIN:SECRETFILE on the command line."""

    name = "LOGIN:SECRETFILE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return both, or two empty texts for `none`."""
        if isinstance(value, tuple):
            return value
        if value == "none":
            return "", ""
        login, _, secret = str(value).rpartition(":")
        if not login or not secret:
            self.fail(f"{value!r} is not LOGIN:SECRETFILE", param, ctx)
        return login, secret
