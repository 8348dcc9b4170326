"""All metric families of a process, and the one function that records an event.

Labels come from closed lists; never an account, an address or a domain (PR-02). Every child is
made at the start, so that a scrape shows zeros.
"""

from __future__ import annotations

import asyncio
import traceback
from bisect import bisect_left
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from policies.transmission import Check
from relay.clock import now
from relay.events import (
    BreakerOpened,
    BugFound,
    ConfigReloaded,
    DeliveryTried,
    Event,
    LocalProblem,
    LoginGuessed,
    LoginTried,
    MessageHandled,
    PolicyBroken,
    RecipientRefused,
    ReportTaken,
    ScannerFailed,
    StandingChanged,
    SwitchTurned,
    UpstreamFailed,
)
from relay.log import nameless
from relay.premises import FOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from relay.log import Log
    from relay.premises import Premises

ACTIONS = ("deliver", "tag", "hold", "refuse", "defer")
OUTCOMES = ("forwarded", "queued", "held", "refused", "deferred")
DELIVERIES = ("delivered", "failed", "deferred", "in_doubt")
OUTBOX = ("waiting", "held", "poison")
STAGES = ("screen", "stamp", "forward", "total")
REFUSALS = ("standing", "upstream", "suppressed", "limit", "identity")
KINDS = ("complaint", "bounce", "unknown")
GRADES = ("A", "B", "C", "none")
STATES = ("active", "throttled", "deactivated", "suspended", "closed")
PAUSED = "paused"
SCANNER_OUTCOMES = ("clean", "hit", "failed", PAUSED)
LISTENERS = ("submission", "submissions", "egress", "feedback")
# a second series beside each counter tells nothing that the start of the process does not
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Fields with words of servers and rules, which may name somebody.
_WORDS = ("reason", "why", "answer")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 45)


class Handled(Collector):
    """Messages, their bytes and the time of their stages: plain numbers, since every message counts here."""

    def __init__(self) -> None:
        self._messages = dict.fromkeys(((action, outcome) for action in ACTIONS for outcome in OUTCOMES), 0)
        self._bytes = 0
        self._spans = {stage: [0] * (len(_SECONDS) + 1) for stage in STAGES}
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def count(self, event: MessageHandled) -> None:
        """Add one message."""
        self._messages[event.action, event.outcome] += 1
        self._bytes += event.size_bytes
        for stage, milliseconds in event.stages_ms.items():
            seconds = milliseconds / 1000
            self._spans[stage][bisect_left(_SECONDS, seconds)] += 1
            self._seconds[stage] += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the three families."""
        messages = CounterMetricFamily(
            "gatepost_messages", "Messages by decision and outcome.", labels=("action", "outcome")
        )
        for labels, number in self._messages.items():
            messages.add_metric(labels, number)
        yield messages
        yield CounterMetricFamily("gatepost_message_bytes", "Bytes of message content taken in.", self._bytes)
        stages = HistogramMetricFamily(
            "gatepost_stage_seconds", "Time of a message by stage.", labels=("stage",)
        )
        bounds = [*map(floatToGoString, _SECONDS), "+Inf"]
        for stage, spans in self._spans.items():
            stages.add_metric(
                (stage,), list(zip(bounds, accumulate(spans), strict=True)), self._seconds[stage]
            )
        yield stages


class Node:
    """What a node may run out of, and when it started."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.certificate = Gauge(
            "gatepost_certificate_expiry_timestamp_seconds",
            "When the certificate of the doors ends, since 1970; 0 if it cannot be read.",
            registry=registry,
        )
        self.disk_free = Gauge(
            "gatepost_disk_free_bytes", "Room on the disks of store and outbox.", ["folder"],
            registry=registry,
        )  # fmt: skip
        self.disk_size = Gauge(
            "gatepost_disk_size_bytes", "Size of these disks.", ["folder"], registry=registry
        )
        self.started = Gauge(
            "gatepost_start_timestamp_seconds", "When this node's control process started, since 1970.",
            registry=registry,
        )  # fmt: skip
        for folder in FOLDERS:
            self.disk_free.labels(folder)
            self.disk_size.labels(folder)

    def note(self, found: Premises) -> None:
        """Show what the node may run out of."""
        ends_at = found.certificate_ends_at
        self.certificate.set(ends_at.timestamp() if ends_at else 0)
        for folder, room in found.rooms.items():
            self.disk_free.labels(folder).set(room.free_bytes)
            self.disk_size.labels(folder).set(room.size_bytes)


class Metrics:
    """The families of one process and its log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.registry = CollectorRegistry()
        self._handled = Handled()
        self.registry.register(self._handled)
        self.refusals = Counter(
            "gatepost_recipients_refused",
            "Recipients refused before content.",
            ["why"],
            registry=self.registry,
        )
        self.logins = Counter("gatepost_logins", "Login attempts.", ["ok"], registry=self.registry)
        self.guessed = Counter(
            "gatepost_logins_guessed", "Logins that strangers began to guess at.", registry=self.registry
        )
        self.local_problems = Counter(
            "gatepost_local_problems",
            "Clients put off because the store or a secret could not be read.",
            registry=self.registry,
        )
        self.reports = Counter(
            "gatepost_reports", "Reports taken in.", ["kind", "grade", "counted"], registry=self.registry
        )
        self.standings = Counter(
            "gatepost_standing_changes",
            "Changes of standing, by new state.",
            ["state"],
            registry=self.registry,
        )
        self.upstream_failures = Counter(
            "gatepost_upstream_failures", "Customers' servers that could not be used.", registry=self.registry
        )
        self.deliveries = Counter(
            "gatepost_outbox_deliveries",
            "Attempts to deliver waiting mail.",
            ["outcome"],
            registry=self.registry,
        )
        self.scanner_answers = Counter(
            "gatepost_scanner_answers",
            "Questions to configured scanners, by how they went.",
            ["scanner", "outcome"],
            registry=self.registry,
        )
        self.scanner_seconds = Histogram(
            "gatepost_scanner_seconds",
            "Time that scanners took to answer or fail.",
            ["scanner"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.policy = Counter(
            "gatepost_policy_breaches", "Clauses of the transmission policy that were broken.",
            ["check", "action"], registry=self.registry,
        )  # fmt: skip
        self.switches = Gauge(
            "gatepost_switch", "1 while brake or bypass is on.", ["switch"], registry=self.registry
        )
        self.breaker = Counter(
            "gatepost_circuit_breaker_opened", "Switch-offs that wait for staff: too many in an hour.",
            registry=self.registry,
        )  # fmt: skip
        self.outbox = Gauge(
            "gatepost_outbox_messages", "Mail in the outbox, of all nodes.", ["state"], registry=self.registry
        )
        self.outbox_unscreened = Gauge(
            "gatepost_outbox_unscreened_messages", "Waiting mail that is still to be screened.",
            registry=self.registry,
        )  # fmt: skip
        self.outbox_oldest = Gauge(
            "gatepost_outbox_oldest_seconds", "Age of the longest waiting message.", registry=self.registry
        )
        self.bugs = Counter("gatepost_bugs", "Exceptions that nobody expected.", registry=self.registry)
        self.sessions = Gauge(
            "gatepost_sessions", "Open SMTP sessions.", ["listener"], registry=self.registry
        )
        self.tasks = Gauge(
            "gatepost_tasks", "Tasks of the event loop: some a process, and one a session.",
            registry=self.registry,
        )  # fmt: skip
        self.reload_ok = Gauge(
            "gatepost_config_reload_ok",
            "1 if the newest reload of the configuration succeeded.",
            registry=self.registry,
        )
        self.journal_lost = Counter(
            "gatepost_journal_rows_lost", "Journal rows that could not be written.", registry=self.registry
        )
        self.propagation = Histogram(
            "gatepost_standing_propagation_seconds", "From a change of standing to this process knowing it.",
            buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5), registry=self.registry,
        )  # fmt: skip
        self.node = Node(self.registry)
        # counted by the supervisor, which leaves a file (relay.scrape)
        Counter("gatepost_worker_deaths", "Worker processes that ended unasked.", registry=self.registry)
        self.reload_ok.set(1)
        for why in REFUSALS:
            self.refusals.labels(why)
        for kind in KINDS:
            for grade in GRADES:
                for counted in ("true", "false"):
                    self.reports.labels(kind, grade, counted)
        for state in STATES:
            self.standings.labels(state)
        for listener in LISTENERS:
            self.sessions.labels(listener)
        for ok in ("true", "false"):
            self.logins.labels(ok)
        for outcome in DELIVERIES:
            self.deliveries.labels(outcome)
        for state in OUTBOX:
            self.outbox.labels(state)
        self._start_policy()

    def _start_policy(self) -> None:
        for check in Check:
            for action in ("flag", "wait", "refuse"):
                self.policy.labels(check, action)
        for switch in ("brake", "bypass"):
            self.switches.labels(switch)

    def expect_scanners(self, names: Iterable[str]) -> None:
        """Show the series of configured scanners from the start."""
        for name in names:
            self.scanner_seconds.labels(name)
            for outcome in SCANNER_OUTCOMES:
                self.scanner_answers.labels(name, outcome)

    def scanner(self, name: str, outcome: str, seconds: float, why: str) -> None:
        """Count one question to a scanner; a failure is a log line."""
        self.scanner_answers.labels(name, outcome).inc()
        if outcome != PAUSED:
            self.scanner_seconds.labels(name).observe(seconds)
        if why:
            self.emit(ScannerFailed(name, why, round(seconds, 3)))

    def emit(self, event: Event) -> None:
        """Record one event: its log line and its metrics."""
        self._count(event)
        if not self.log.wants(event.level):
            return
        fields = {"at": now().isoformat(timespec="microseconds"), "event": event.name}
        fields.update((name, getattr(event, name)) for name in event.__slots__)
        fields |= {key: nameless(str(fields[key])) for key in _WORDS if key in fields}
        self.log.line(event.level, fields)

    def bug(self, where: str, error: BaseException) -> None:
        """Record an exception that nobody expected; frames and lines, no values (PR-06)."""
        frames = "".join(traceback.format_tb(error.__traceback__))
        self.emit(BugFound(where, type(error).__name__, frames))

    def note_outbox(self, states: Mapping[str, int], unscreened: int, oldest_seconds: float) -> None:
        """Show how much waits."""
        for state in OUTBOX:
            self.outbox.labels(state).set(states.get(state, 0))
        self.outbox_unscreened.set(unscreened)
        self.outbox_oldest.set(oldest_seconds)

    def render(self) -> bytes:
        """Return the families as /metrics shows them."""
        with suppress(RuntimeError):  # no loop in this thread
            self.tasks.set(len(asyncio.all_tasks()))
        return generate_latest(self.registry)

    def _count(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event
        match event:
            case MessageHandled():
                self._handled.count(event)
            case RecipientRefused():
                self.refusals.labels(event.why).inc()
            case PolicyBroken():
                self.policy.labels(event.check, event.action).inc()
            case SwitchTurned():
                self.switches.labels(event.switch).set(1 if event.on else 0)
            case BreakerOpened():
                self.breaker.inc()
            case LoginTried():
                self.logins.labels("true" if event.ok else "false").inc()
            case LoginGuessed():
                self.guessed.inc()
            case LocalProblem():
                self.local_problems.inc()
            case ReportTaken():
                self.reports.labels(
                    event.kind, event.grade or "none", "true" if event.counted else "false"
                ).inc()
            case StandingChanged():
                self.standings.labels(event.to_state).inc()
            case UpstreamFailed():
                self.upstream_failures.inc()
            case DeliveryTried():
                self.deliveries.labels(event.outcome).inc()
            case ConfigReloaded():
                self.reload_ok.set(1 if event.ok else 0)
            case BugFound():
                self.bugs.inc()
