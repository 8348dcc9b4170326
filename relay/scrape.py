"""One /metrics for a node: edge processes leave their numbers in files, the control process adds them up."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PUBLISH_SECONDS = 1.0
#: A file that nobody renewed belongs to a process that is gone.
STALE_SECONDS = 10.0
_SUPERVISOR = "supervisor.prom"
#: Of these the worst process counts, not the sum: a switch is on when all processes know it.
_MINIMUM = frozenset({"gatepost_config_reload_ok", "gatepost_switch"})

Key = tuple[str, tuple[tuple[str, str], ...]]


def publish(path: Path, text: bytes) -> None:
    """Leave a process's numbers, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(text)
    part.rename(path)


async def publish_forever(folder: Path, number: int, render: Callable[[], bytes]) -> None:
    """Leave the numbers of an edge, again and again."""
    while True:
        with suppress(OSError):  # a full disk costs numbers, not mail
            publish(folder / f"edge-{number}.prom", render())
        await asyncio.sleep(PUBLISH_SECONDS)


def publish_deaths(folder: Path, deaths: int) -> None:
    """Leave how many workers ended unasked: the supervisor serves no page. Never fails."""
    family = "gatepost_worker_deaths_total"
    text = (
        f"# HELP {family} Worker processes that ended unasked.\n# TYPE {family} counter\n{family} {deaths}\n"
    )
    with suppress(OSError):  # a full disk costs a number
        publish(folder / _SUPERVISOR, text.encode())


def forget_deaths(folder: Path) -> None:
    """Take the supervisor's numbers away: there is none any more."""
    with suppress(OSError):
        (folder / _SUPERVISOR).unlink(missing_ok=True)


def published(folder: Path) -> list[bytes]:
    """Return the numbers that living edge processes left, and the supervisor's."""
    now = time.time()  # noqa: TID251 - compared with file times
    texts = []
    with suppress(OSError):
        texts.append((folder / _SUPERVISOR).read_bytes())
    for path in sorted(folder.glob("edge-*.prom")):
        try:
            if now - path.stat().st_mtime < STALE_SECONDS:
                texts.append(path.read_bytes())
        except OSError:
            continue
    return texts


class _Sum(Collector):
    def __init__(self, texts: Iterable[bytes]) -> None:
        self._texts = list(texts)

    def collect(self) -> Iterator[Metric]:
        """Yield every family with the samples of all texts added up."""
        families: dict[str, tuple[Metric, dict[Key, float]]] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text.decode()):
                _, values = families.setdefault(family.name, (family, {}))
                for sample in family.samples:
                    key = (sample.name, tuple(sorted(sample.labels.items())))
                    if family.name in _MINIMUM:
                        values[key] = min(values.get(key, sample.value), sample.value)
                    else:
                        values[key] = values.get(key, 0.0) + sample.value
        for family, values in families.values():
            added = Metric(family.name, family.documentation, family.type)
            for (name, labels), value in values.items():
                added.add_sample(name, dict(labels), value)
            yield added


def add_up(texts: list[bytes]) -> bytes:
    """Return the families of several processes as one text."""
    if len(texts) == 1:
        return texts[0]
    registry = CollectorRegistry()
    registry.register(_Sum(texts))
    return generate_latest(registry)
