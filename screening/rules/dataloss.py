"""Data that should not leave; all off until an operator switches them on."""

from __future__ import annotations

import re

from screening.mail import Mail
from screening.rule import Mode, rule

_CARD = re.compile(r"(?<![\d.,/-])(?:\d[ -]?){12,18}\d(?![\d.,/-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,60}")
_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b")


def _texts(mail: Mail) -> str:
    """Return the shown text and the start of attached plain files."""
    files = [a.data[:200_000].decode("utf-8", "replace") for a in mail.attachments if not a.kind][:10]
    return "\n".join([mail.text, *files])


def luhn(digits: str) -> bool:
    """Return whether the digits carry a card number's check digit."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(text: str) -> bool:
    """Return whether the text is an IBAN by its check digits (ISO 13616)."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    number = "".join(str(int(char, 36)) for char in compact[4:] + compact[:4])
    return int(number) % 97 == 1


@rule(
    score=4.0,
    mode=Mode.OFF,
    hits=[{"text": "Card 4111 1111 1111 1111 exp 04/29"}],
    misses=[{"text": "Order 4111 1111 1111 1112"}, {"text": "Call 0049 89 1234 5678"}],
)
def card_number_leaves(mail: Mail) -> str | None:
    """The text or an attached file contains a payment card's number."""
    for found in _CARD.finditer(_texts(mail)):
        digits = re.sub(r"\D", "", found[0])
        if digits[0] in "3456" and 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits):
            return f"{digits[:4]}…{digits[-2:]}"
    return None


@rule(
    score=4.0,
    mode=Mode.OFF,
    hits=[
        {
            "text": "\n".join(
                ["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"]
            )
        }
    ],
    misses=[{"text": "Please pay to DE89 3704 0044 0532 0130 00"}],
)
def many_accounts_leave(mail: Mail) -> str | None:
    """The text or an attached file lists three or more bank account numbers."""
    found = {text for text in _IBAN.findall(_texts(mail)) if iban(text)}
    return f"{len(found)} account numbers" if len(found) >= 3 else None


@rule(
    score=4.0,
    mode=Mode.OFF,
    hits=[{"files": {"customers.csv": "\n".join(f"user{n}@shop{n}.example;Name {n}" for n in range(120))}}],
    misses=[{"text": "Write to anna@acme.example or bob@acme.example"}],
)
def address_list_leaves(mail: Mail) -> str | None:
    """The text or an attached file lists a hundred or more mail addresses."""
    found = len(set(_ADDRESS.findall(_texts(mail))))
    return f"{found} addresses" if found >= 100 else None


@rule(
    score=4.0,
    mode=Mode.OFF,
    hits=[{"files": {"id_rsa": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"}}],
    misses=[{"files": {"id_rsa.pub": "ssh-rsa AAAA"}}],
)
def private_key_leaves(mail: Mail) -> str | None:
    """A private key or a cloud access key leaves."""
    found = _KEY.search(_texts(mail))
    return found[0][:40] if found is not None else None
