"""The tables of the configuration that decide about accounts: `[rates]` and `[policy]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.model import AccountClass
from relay.section import Section
from relay.values import Rate


class Rates(Section):
    """How much may be sent how fast; off until set."""

    messages: Rate | Literal[""] = Field("", description='of one account, as "1000/1h" (clause 2.1)')
    recipients: Rate | Literal[""] = Field("", description='of one account, as "5000/1d" (clause 2.2)')
    server_recipients: Rate | Literal[""] = Field("", description="of all accounts of one mail server (2.3)")
    customer_recipients: Rate | Literal[""] = Field("", description="of one customer in all (2.4)")


class RatesConfig(Rates):
    """How much may be sent how fast; off until set, here or in the transmission policy."""

    by_class: dict[AccountClass, Rates] = Field(
        default_factory=dict, description='[rates.by_class.person] messages = "100/1h", over the above'
    )
    by_customer: dict[str, Rates] = Field(
        default_factory=dict, description='[rates.by_customer.NAME] messages = "100/1h", over both'
    )


class PolicyConfig(Section):
    """Files that decide about accounts."""

    ladder: Path | Literal[""] = Field("", description="empty: the shipped policies/ladder.toml")
    transmission: Path | Literal[""] = Field(
        "", description="what senders agree to; empty: the shipped policies/transmission.toml"
    )
    support_addresses: tuple[str, ...] = Field((), description="reachable in every standing but closed")
    countries: Path | Literal[""] = Field(
        "", description="MMDB file that tells a client's country (pip install 'gatepost[geo]'); empty: none"
    )
    sample_addresses: tuple[str, ...] = Field(
        (), description="spam may be sent there as a sample, as to any abuse@; small letters"
    )
    identity: Literal["enforce", "flag", "observe"] = Field(
        "enforce", description="senders must belong to the account"
    )
