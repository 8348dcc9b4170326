"""Parts that a configuration asks for, built or refused with every fault; nothing here listens."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies import ladder as ladders
from policies import transmission as transmissions
from relay import noticing, scanning
from relay.buckets import Buckets
from relay.errors import ConfigError, Fault, StoreError
from relay.gate import Gate
from relay.keyring import Keyring
from relay.screens import screener
from relay.signing import keys as signing_keys
from relay.signing.stamp import Stamper, Unsubscribe
from relay.smtp.tls import Certificate
from relay.store import migrate
from relay.store.engine import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.config import Config
    from relay.dns import Resolver
    from relay.metrics import Metrics
    from relay.pipeline import Pipeline
    from relay.store.directory import Directory
    from relay.sweep import SwitchWatch
    from screening.screen import Scanner


def scanners(config: Config, resolver: Resolver, metrics: Metrics) -> Sequence[Scanner]:
    """Return the scanners that this configuration names; their series are there from now on."""
    metrics.expect_scanners(one.label for one in config.scanner)
    return scanning.build(config, resolver, metrics.scanner)


def ladder(config: Config) -> ladders.Ladder:
    """Return the ladder that decides about standings; ConfigError with every fault of it."""
    path = config.policy.ladder
    try:
        return ladders.load(config.path(path) if path else None)
    except ladders.LadderError as error:
        raise ConfigError([Fault("policy.ladder", str(path), text) for text in error.faults]) from error


def transmission(config: Config) -> transmissions.Transmission:
    """Return the policy that senders agree to; ConfigError with every fault of it."""
    path = config.policy.transmission
    try:
        return transmissions.load(config.path(path) if path else None)
    except transmissions.TransmissionError as error:
        raise ConfigError([Fault("policy.transmission", str(path), text) for text in error.faults]) from error


def countries(config: Config) -> Callable[[str], str]:
    """Return what tells a client's country (ISO 3166) by its address, "" where nobody knows; ConfigError."""
    if not config.policy.countries:
        return lambda _address: ""
    path = config.path(config.policy.countries)
    try:
        from maxminddb import InvalidDatabaseError, open_database  # an extra

        reader = open_database(path)
    except ImportError:
        why = "needs maxminddb: pip install 'gatepost[geo]'"
        raise ConfigError([Fault("policy.countries", str(path), why)]) from None
    except (OSError, ValueError, InvalidDatabaseError) as error:
        raise ConfigError([Fault("policy.countries", str(path), f"cannot be read: {error}")]) from error

    def country(address: str) -> str:
        try:
            found: Any = reader.get(address)
        except (ValueError, InvalidDatabaseError):
            return ""
        known = found.get("country") if isinstance(found, dict) else None
        code = known.get("iso_code", "") if isinstance(known, dict) else ""
        return code if isinstance(code, str) and len(code) == 2 and code.isascii() else ""

    return country


def examine(config: Config) -> None:
    """Try everything that `serve` needs and nothing that listens; ConfigError with all faults at once."""
    faults: list[Fault] = []
    for build in (
        lambda: Keyring.load(config.path(config.keys.master)),
        lambda: certificate(config),
        lambda: config.signing.enabled and signing_keys.provider(config),
        lambda: screener(config),
        lambda: ladder(config),
        lambda: transmission(config),
        lambda: countries(config),
        lambda: noticing.prepare(config),
        lambda: _examine_store(config),
        lambda: _examine_spool(config),
    ):
        try:
            build()
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)


def _examine_store(config: Config) -> None:
    try:
        store = Store(config.store.url, config.folder)
        try:
            store.migrate()
            with store.read() as tx:
                lacking = migrate.missing(tx)
        finally:
            store.close()
    except (StoreError, OSError) as error:
        raise _store_fault(config, str(error).removeprefix("store.url: ")) from error
    if lacking:
        some = ", ".join(lacking[:5]) + (" and more" if lacking[5:] else "")
        raise _store_fault(
            config,
            f"its tables are not this version's, they lack {some}: go back to the version that made them,"
            " or to a backup",
        )


def _store_fault(config: Config, what: str) -> ConfigError:
    """Return a fault of the store, without the password that its URL may hold."""
    return ConfigError([Fault("store.url", config.store.url.partition("@")[2] or config.store.url, what)])


def _examine_spool(config: Config) -> None:
    folder = config.path(config.outbox.folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            [Fault("outbox.folder", str(folder), f"cannot be written: {error.strerror}")]
        ) from error


def certificate(config: Config) -> Certificate:
    """Return the certificate of the submission doors; ConfigError if the pair cannot be used."""
    return Certificate(config.path(config.tls.certificate), config.path(config.tls.key))


def stamper(config: Config, keyring: Keyring, customers: signing_keys.Customers) -> Stamper:
    """Return what stamps and signs, with the provider's key and the customers' where signing is on."""
    signs = config.signing.enabled
    made = Stamper(
        hostname=config.hostname,
        keyring=keyring,
        feedback_address=config.feedback.addresses[0],
        sender_id=config.signing.sender_id,
        provider=signing_keys.provider(config) if signs else None,
        customer_signer=customers.signer if signs else _no_signer,
    )
    made.unsubscribe = _unsubscribe(config)
    return made


def _unsubscribe(config: Config) -> Unsubscribe | None:
    wish = config.unsubscribe
    if not wish.url:
        return None
    return Unsubscribe(wish.url, frozenset(wish.classes), frozenset(wish.customers))


def _no_signer(_customer_id: int, _domain: str) -> None:
    """Know no key."""


def cautions(config: Config) -> list[str]:
    """Return what this configuration leaves undone that a relay should do, a line each."""
    lines = []
    if not config.screening.enabled:
        lines.append(
            "screening.enabled is false: spam and files of any kind go out, if nothing else stops them"
        )
    if not config.signing.enabled:
        lines.append("signing.enabled is false: messages leave without DKIM signatures")
    if config.policy.identity == "observe":
        lines.append('policy.identity is "observe": accounts may send under any name')
    if config.returns.domain and not config.listeners.feedback:
        lines.append(
            "returns.domain is set and listeners.feedback is off: bounces reach neither us nor senders"
        )
    if config.returns.domain and not config.signing.enabled:
        lines.append(
            "returns.domain is set and signing.enabled is false: DMARC has nothing aligned to rest on"
        )
    return lines


def disclosures(config: Config) -> list[str]:
    """Return what leaves this machine under this configuration besides the mail itself, a line each."""
    notices = config.notices
    leaving = ["to DNS: names of reporters' DKIM keys that are not pinned, and of customers' servers"]
    if notices.server:
        leaving.append(f"to {notices.server}: notices about standings, for customers and staff")
    if notices.webhook:
        leaving.append(f"to {notices.webhook}: every case as signed JSON")
    leaving += scanning.disclosures(config)
    return leaving


def run_folder(config: Config) -> Path:
    """Return the folder of files that live only while the daemon runs."""
    folder = config.path(Path("run"))
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def gate(config: Config, directory: Directory, pipeline: Pipeline, switches: SwitchWatch) -> Gate:
    """Return what says who may send and how much; ConfigError for a policy that cannot be used."""
    buckets = Buckets(run_folder(config) / "rates", alone=config.workers == 1)
    made = Gate(config, transmission(config), directory, pipeline, switches, buckets)
    conduct, pipeline.country = pipeline.conduct, countries(config)
    conduct.foreign, conduct.bypassed = directory.foreign, switches.bypassed
    conduct.looping = made.looping
    conduct.transmission, conduct.recipients_24h = made.policy, made.recipients_today
    return made
