"""Every reply that Gatepost gives an SMTP client."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply line; the class of the enhanced status is the code's first digit (RFC 3463 §2)."""

    code: int
    #: subject.detail of the enhanced status ("7.1"); empty where RFC 2034 §4 wants none (220, 221?, 334, 354, EHLO)
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
