"""Who may do what; one table for pages and API alike."""

from __future__ import annotations

from enum import StrEnum

from relay.model import Level


class Role(StrEnum):
    """What a member of staff is; later members may do all that earlier ones may."""

    VIEWER = "viewer"
    SUPPORT = "support"
    ABUSE = "abuse"
    ADMIN = "admin"


class May(StrEnum):
    """One permission; its value is what a refusal says is missing."""

    READ = "read"
    EXPORT = "export"
    PAUSE = "pause and resume accounts for their owner"
    SWITCH_ACCOUNTS = "switch accounts"
    SWITCH_SERVERS = "switch servers"
    SWITCH_CUSTOMERS = "switch customers"
    SUPPRESS = "change suppressions"
    REPORTERS = "list and change reporters"
    EMERGENCY = "end brake and bypass"
    MAIL = "look at mail and decide about it"
    AUDIT = "read the audit log"
    TOKENS = "manage API tokens"
    STAFF = "manage staff"


class Scope(StrEnum):
    """What an API token may do."""

    READ = "read"
    STANDING = "standing"
    AUDIT = "audit"
    SUPPRESSION = "suppression"
    PAUSE = "pause"


#: what a customer's own token may do; the rest is the provider's
CUSTOMERS = frozenset({Scope.READ, Scope.SUPPRESSION, Scope.PAUSE})

_VIEWER = frozenset({May.READ})
_SUPPORT = _VIEWER | {May.EXPORT, May.PAUSE, May.SWITCH_ACCOUNTS, May.SUPPRESS}
_ABUSE = (
    _SUPPORT
    | {May.SWITCH_SERVERS, May.SWITCH_CUSTOMERS, May.MAIL, May.AUDIT}
    | {
        May.REPORTERS,
        May.EMERGENCY,
    }
)

GRANTS: dict[Role, frozenset[May]] = {
    Role.VIEWER: _VIEWER,
    Role.SUPPORT: _SUPPORT,
    Role.ABUSE: _ABUSE,
    Role.ADMIN: frozenset(May),
}

SCOPES: dict[Scope, frozenset[May]] = {
    Scope.READ: frozenset({May.READ}),
    Scope.STANDING: frozenset({May.SWITCH_ACCOUNTS, May.SWITCH_SERVERS, May.SWITCH_CUSTOMERS}),
    Scope.AUDIT: frozenset({May.AUDIT}),
    Scope.SUPPRESSION: frozenset({May.READ, May.SUPPRESS}),
    Scope.PAUSE: frozenset({May.READ, May.PAUSE}),
}

SWITCH: dict[Level, May] = {
    Level.ACCOUNT: May.SWITCH_ACCOUNTS,
    Level.SERVER: May.SWITCH_SERVERS,
    Level.CUSTOMER: May.SWITCH_CUSTOMERS,
}
