"""The configuration: TOML, frozen, validated whole; an unknown key is an error."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from relay import config_faults
from relay.errors import ConfigError, Fault
from relay.policy_config import PolicyConfig, RatesConfig
from relay.scanner_config import ScannerConfig
from relay.section import Section
from relay.values import (
    MAILBOX,
    Address,
    Door,
    Duration,
    Hostname,
    Lasting,
    Network,
    PositiveInt,
    Score,
    Size,
    Workers,
    parse_duration,
    parse_size,
    split_address,
)

#: what is left of the 45 s until the answer to the dot is for the customer's server
_SCREENING_AT_MOST = timedelta(seconds=35)


class StoreConfig(Section):
    """Where accounts, standing, journal and complaints live."""

    url: str = Field(
        "sqlite:///gatepost.db", description="sqlite:///FILE (relative to this file) or postgresql://…"
    )


class KeysConfig(Section):
    """Keys kept outside the database."""

    master: Path = Field(
        Path("keys/master.keys"), description="seals tokens and stored mail, hashes recipients"
    )


class Listeners(Section):
    """HOST:PORT of each door; port 0 chooses one, an empty string switches a door off."""

    submission: Door | Literal[""] = Field("0.0.0.0:587", description="STARTTLS, then AUTH")
    submissions: Door | Literal[""] = Field("0.0.0.0:465", description="implicit TLS")
    feedback: Door | Literal[""] = Field(
        "0.0.0.0:25", description="complaints and bounces, only its own addresses"
    )
    http: Door | Literal[""] = Field("127.0.0.1:8025", description="console, API and /metrics; plain HTTP")
    proxy_protocol_from: tuple[Network, ...] = Field((), description="load balancers that speak PROXY v1/v2")

    @model_validator(mode="after")
    def _distinct(self) -> Listeners:
        doors = [door for door in (self.submission, self.submissions, self.feedback, self.http) if door]
        places = [split_address(door) for door in doors]
        for number, (host, port) in enumerate(places):
            for other, one in enumerate(places[:number]):
                if port and port == one[1] and _overlap(host, one[0]):
                    both = (
                        doors[number]
                        if doors[number] == doors[other]
                        else f"{doors[other]} and {doors[number]}"
                    )
                    raise PydanticCustomError("listeners", f"two listeners share {both}")
        return self


def _overlap(one: str, other: str) -> bool:
    """Return whether two listeners on one port would be in each other's way."""
    everywhere = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    same_family = (":" in one) == (":" in other)
    return one == other or (same_family and (one in everywhere or other in everywhere))


class TlsConfig(Section):
    """The certificate of both submission doors; reloaded when the files change."""

    certificate: Path = Field(Path("keys/tls.crt"), description="PEM, with its chain")
    key: Path = Field(Path("keys/tls.key"), description="PEM, readable by its owner only")


class Limits(Section):
    """What one client may use (RFC 5321 §4.5.3)."""

    message_size: Size = Field(parse_size("25 MiB"), description="announced by SIZE")
    recipients: PositiveInt = Field(1000, description="per message, announced by LIMITS RCPTMAX")
    connections_per_client: PositiveInt = Field(20, description="not logged in, per IPv4 address or IPv6 /64")
    connections_per_minute: PositiveInt = Field(60, description="not logged in, per client")
    sessions_per_account: PositiveInt = Field(50, description="logged in, at once")
    connections: PositiveInt = Field(20000, description="in all, at once; fewer where files are few")
    auth_failures_per_session: PositiveInt = Field(3, description="then 421")
    auth_failures_per_client: PositiveInt = Field(
        10, description="different wrong passwords per client in 15 min"
    )
    errors_soft: PositiveInt = Field(5, description="after these, each error costs a second")
    errors_hard: PositiveInt = Field(10, description="then 421")
    junk_commands: PositiveInt = Field(100, description="NOOP, RSET, VRFY, EHLO between messages, then 421")
    large_messages: Size = Field(parse_size("64 MiB"), description="over 256 KiB each, decided at once")
    received_headers: PositiveInt = Field(50, description="more is a loop")
    command_timeout: Lasting = Field(parse_duration("300s"), description="wait for a command")
    greeting_timeout: Lasting = Field(parse_duration("60s"), description="wait for a command before AUTH")
    tls_timeout: Lasting = Field(parse_duration("10s"), description="TLS handshake")
    data_timeout: Lasting = Field(parse_duration("180s"), description="silence during DATA")
    data_bytes_per_second: PositiveInt = Field(500, description="mean after 60 s of DATA, slower is cut")
    exempt: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="limits per client do not bind these"
    )


class AuthConfig(Section):
    """How logins are checked and remembered."""

    remember: Duration = Field(parse_duration("5min"), description="a verified password is not hashed again")
    hash_threads: PositiveInt = Field(2, description="argon2id runs off the event loop")


class ScreeningConfig(Section):
    """Thresholds in points, rules of your own, and changed scores."""

    enabled: bool = Field(True, description="false: content is not looked at; who sends still is")  # noqa: FBT003
    tag: Score = Field(4.0, description="from here a header tells the customer's server")
    hold: Score = Field(7.0, description="from here staff look first")
    refuse: Score = Field(12.0, description="from here the client is told why")
    rules: tuple[Path, ...] = Field((), description="files or folders of TOML rules, beside the shipped ones")
    python_rules: tuple[str, ...] = Field(
        (), description="entry points of group screening.rules to load, by name"
    )
    scores: dict[str, Score] = Field(default_factory=dict, description="rule = score, over the rule's own")
    off: tuple[str, ...] = Field((), description="rules that are switched off")
    on: tuple[str, ...] = Field((), description="rules that ship switched off, such as the data-loss rules")
    shadow: tuple[str, ...] = Field((), description="rules that are recorded but do not count")
    model: Path | Literal[""] = Field(
        "", description="what `learn` trains; empty: classifier.model here, or the shipped one"
    )
    learn_complaints: bool = Field(
        False,  # noqa: FBT003
        description="true: what people complained about teaches the classifier as spam, each message once",
    )
    deadline: Lasting = Field(parse_duration("20s"), description="for everything about one message")
    failure: Literal["skip", "defer"] = Field("defer", description="when screening itself fails")

    @model_validator(mode="after")
    def _ordered(self) -> ScreeningConfig:
        if not self.tag <= self.hold <= self.refuse:
            raise PydanticCustomError("thresholds", "must satisfy tag <= hold <= refuse")
        if self.deadline > _SCREENING_AT_MOST:
            raise PydanticCustomError(
                "thresholds", "deadline must be at most 35s: the client's answer is due after 45 s"
            )
        return self


class DnsConfig(Section):
    """Who is asked for DNS records; lists of spammers' domains want a resolver of your own."""

    servers: tuple[Address, ...] = Field((), description='"IP:PORT" each; empty: those of /etc/resolv.conf')


class FeedbackSource(Section):
    """A provider that posts reports to /feedback/NAME, signed with a secret that only it and we have."""

    reporter: Hostname = Field(..., description="the listed reporter for which it speaks")
    secret_file: Path = Field(..., description="at least 16 bytes; made by `openssl rand -hex 32`, say")


class FeedbackConfig(Section):
    """Where complaints and bounces come in."""

    addresses: tuple[Annotated[str, Field(pattern=MAILBOX)], ...] = Field(
        ("fbl@relay.example",), min_length=1, description="the first goes into CFBL-Address"
    )
    message_size: Size = Field(parse_size("2 MiB"), description="of one report")
    token_days: PositiveInt = Field(90, description="a report about older mail counts for nothing")
    sources: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")], FeedbackSource] = Field(
        {}, description="posts to /feedback/NAME: tables [feedback.sources.NAME]"
    )


class UnsubscribeConfig(Section):
    """One-click unsubscription (RFC 8058) from bulk and list mail that has none of its own."""

    url: Annotated[str, Field(pattern=r"^(https://[^/\s<>]+)?$")] = Field(
        "", description="as https://relay.example, where the http listener is reached; empty: off"
    )
    classes: tuple[Literal["person", "app", "bulk", "list"], ...] = Field(
        ("bulk", "list"), description="of accounts whose mail gets the header"
    )
    customers: tuple[str, ...] = Field((), description="whose mail gets it, by name; empty: all")


class ReturnsConfig(Section):
    """Return paths of our own (VERP): bounces of customers' mail come here first, and go on to its sender."""

    domain: Hostname | Literal[""] = Field(
        "", description="MAIL FROM becomes bounce+TOKEN@ this; its MX is the feedback listener; empty: off"
    )
    customers: tuple[str, ...] = Field((), description="whose mail gets them, by name; empty: all")


class SigningConfig(Section):
    """The provider's DKIM identity; customers' domains are added by `gatepost dkim add`."""

    enabled: bool = Field(True, description="false: messages leave without DKIM signatures")  # noqa: FBT003
    domain: Hostname = Field("relay.example", description="d= of the provider's signature")
    selector: Hostname = Field("gatepost", description="s=")
    key: Path = Field(Path("keys/dkim.pem"), description="RSA of at least 2048 bits, or Ed25519; PEM")
    sender_id: Hostname = Field("gatepost", description="last field of Feedback-ID")


class UpstreamConfig(Section):
    """How the customers' servers are spoken to."""

    connect_timeout: Lasting = Field(parse_duration("10s"), description="TCP and TLS")
    reply_timeout: Lasting = Field(parse_duration("60s"), description="greeting, EHLO, MAIL, RCPT")
    connections_per_server: PositiveInt = Field(20, description="at once, per process")
    idle: Duration = Field(parse_duration("60s"), description="an unused connection is kept this long")
    verify_tls: bool = Field(False, description="refuse servers whose certificate does not match")  # noqa: FBT003
    allow_private: tuple[Network, ...] = Field((), description="private networks that customers may name")


class Retention(Section):
    """How long personal data is kept."""

    journal: Lasting = Field(parse_duration("90d"), description="message rows")
    logins: Lasting = Field(parse_duration("30d"), description="login history")
    reports: Lasting = Field(parse_duration("90d"), description="sealed copies of reports")


class OutboxConfig(Section):
    """Mail that waits: retries, held mail, in-doubt answers."""

    folder: Path = Field(Path("spool"), description="bodies over 64 KiB, sealed; relative to this file")
    bodies: Literal["folder", "database"] = Field(
        "folder", description="where bodies over 64 KiB lie; database: nodes need no folder in common"
    )
    first_retry: Lasting = Field(parse_duration("5min"), description="then times 1.5")
    longest_retry: Lasting = Field(parse_duration("4h"), description="no pause is longer")
    lifetime: Lasting = Field(parse_duration("5d"), description="then the sender is told")
    delay_notice: Lasting = Field(parse_duration("4h"), description="then the sender hears of a delay")
    hold_days: PositiveInt = Field(7, description="held mail is kept this long")
    concurrency: PositiveInt = Field(5, description="deliveries at once to one server")


class NoticesConfig(Section):
    """Who is told when a standing changes, once for each kind and hour; customers by their contact."""

    server: Address | Literal[""] = Field("", description="HOST:PORT that takes the notices; empty: no mail")
    tls: Literal["none", "starttls", "implicit"] = Field("none", description="to that server")
    sender: str = Field("gatepost@relay.example", pattern=MAILBOX, description="From of every notice")
    staff: tuple[Annotated[str, Field(pattern=MAILBOX)], ...] = Field((), description="told of every case")
    webhook: str = Field("", description="https URL that gets every case as signed JSON; empty: none")
    webhook_secret: Path = Field(Path("keys/webhook.secret"), description="signs it; one line")
    appeals: Annotated[str, Field(pattern=r"^(https?://[^/\s]+)?$")] = Field(
        "", description="where customers reach /appeal, as https://mail.example; empty: console.url"
    )
    templates: Path | Literal[""] = Field("", description="folder of texts that replace the shipped ones")


class ConsoleConfig(Section):
    """The staff console and the API, behind the http listener."""

    url: Annotated[str, Field(pattern=r"^(https?://[^/\s]+)?$")] = Field(
        "",
        description="what staff type, as https://console.example; its https makes cookies Secure; empty: any",
    )
    proxies: tuple[Network, ...] = Field((), description="whose X-Forwarded-For and -Proto are believed")


class Config(Section):
    """gatepost.toml, whole."""

    hostname: Hostname = Field("relay.example", description="in the greeting and in Received")
    workers: Workers = Field(1, description='edge processes; "auto": one a core')
    loop: Literal["uvloop", "asyncio"] = Field("uvloop", description="event loop")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="log lines on stderr")
    store: StoreConfig = StoreConfig()
    keys: KeysConfig = KeysConfig()
    listeners: Listeners = Listeners()
    tls: TlsConfig = TlsConfig()
    limits: Limits = Limits()
    auth: AuthConfig = AuthConfig()
    screening: ScreeningConfig = ScreeningConfig()
    scanner: tuple[ScannerConfig, ...] = Field((), exclude=True)
    dns: DnsConfig = DnsConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    signing: SigningConfig = SigningConfig()
    unsubscribe: UnsubscribeConfig = UnsubscribeConfig()
    returns: ReturnsConfig = ReturnsConfig()
    upstream: UpstreamConfig = UpstreamConfig()
    policy: PolicyConfig = PolicyConfig()
    rates: RatesConfig = RatesConfig()
    outbox: OutboxConfig = OutboxConfig()
    notices: NoticesConfig = NoticesConfig()
    console: ConsoleConfig = ConsoleConfig()
    retention: Retention = Retention()
    #: the folder of the file; relative paths start here
    folder: Path = Field(Path(), exclude=True)

    @model_validator(mode="after")
    def _scanners(self) -> Config:
        names = [scanner.label for scanner in self.scanner]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PydanticCustomError("scanners", "two scanners share the name " + ", ".join(sorted(twice)))
        for scanner in self.scanner:
            if scanner.deadline >= self.screening.deadline:
                raise PydanticCustomError(
                    "scanners", f"scanner {scanner.label}: its deadline must be below screening.deadline"
                )
        return self

    def path(self, value: Path) -> Path:
        """Return `value` below the configuration's folder unless it is absolute."""
        return value if value.is_absolute() else self.folder / value


def load(path: Path) -> Config:
    """Read and validate the file; ConfigError with every fault at once."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        what = error.strerror or "unreadable"
        if isinstance(error, FileNotFoundError):
            what = (
                "there is no such file: name yours by `gatepost -c FILE`, or make one by `gatepost init DIR`"
            )
        raise ConfigError([Fault(str(path), "cannot be read", what)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Fault(f"{path.name}", f"byte {error.start}", "must be UTF-8")]) from error
    return parse(text, path.parent, path.name)


def parse(text: str, folder: Path, name: str = "gatepost.toml") -> Config:
    """Validate the text of a configuration; ConfigError with every fault at once."""
    if text.startswith("\ufeff"):
        raise ConfigError([Fault(name, "line 1", "must not start with a byte order mark")])
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Fault(name, "not TOML", str(error))]) from error
    if "folder" in raw:
        raise ConfigError([Fault("folder", repr(raw["folder"]), "unknown key")])
    try:
        return Config.model_validate({**raw, "folder": folder})
    except ValidationError as error:
        raise ConfigError(config_faults.of(error, Config)) from error


def allowed_values(annotation: object) -> tuple[object, ...]:
    """Return the values of a Literal, for the commented file that `init` writes."""
    return get_args(annotation) if getattr(annotation, "__origin__", None) is Literal else ()
