"""The keys that sign: the provider's own, and those of customers' domains as the store lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import ConfigError, Fault
from relay.signing.dkim import Signer
from relay.store import dkim_keys

if TYPE_CHECKING:
    from relay.config import Config
    from relay.store.engine import Store


def provider(config: Config) -> Signer:
    """Return the signer of the provider's domain; ConfigError if its key cannot be used."""
    path = config.path(config.signing.key)
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError([Fault("signing.key", str(path), f"cannot be read: {error.strerror}")]) from error
    return Signer(config.signing.domain, config.signing.selector, pem)


class Customers:
    """Signers of customers' domains, in memory; `load` again when the list changes."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._signers: dict[str, tuple[int | None, Signer]] = {}

    def load(self) -> None:
        """Read the list and the key files; a key that cannot be used is left out, its mail goes unsigned."""
        with self._store.read() as tx:
            listed = dkim_keys.dkim_keys(tx)
        signers: dict[str, tuple[int | None, Signer]] = {}
        for key in listed:
            try:
                pem = (self._config.folder / key.key_file).read_bytes()
                signers[key.domain] = (key.customer_id, Signer(key.domain, key.selector, pem))
            except (OSError, ConfigError):
                continue
        self._signers = signers

    def signer(self, customer_id: int, domain: str) -> Signer | None:
        """Return the signer of a domain if this customer's mail may be signed with it."""
        owner, signer = self._signers.get(domain, (None, None))
        return signer if owner in (None, customer_id) else None
