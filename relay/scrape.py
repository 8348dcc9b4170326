"""One /metrics for a node: edge processes leave their numbers in files, the control process adds them up."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import METRIC_TYPES, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from pathlib import Path

PUBLISH_SECONDS = 1.0
#: A file that nobody renewed belongs to a process that is gone: what it counted stays, its gauges do not.
STALE_SECONDS = 10.0
_SUPERVISOR = "supervisor.prom"
#: Of these the worst process counts, not the sum: a switch is on when all processes know it.
_MINIMUM = frozenset({"gatepost_config_reload_ok", "gatepost_switch"})
_COUNTED = frozenset({"counter", "histogram"})

Key = tuple[str, tuple[tuple[str, str], ...]]


def publish(path: Path, text: bytes) -> None:
    """Leave a process's numbers, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(text)
    part.rename(path)


async def publish_forever(folder: Path, number: int, render: Callable[[], bytes]) -> None:
    """Leave the numbers of an edge, again and again; what its predecessors counted is kept beside them."""
    mine = folder / f"edge-{number}.prom"
    with suppress(OSError):
        _inherit(mine, folder / f"edge-{number}.gone.prom")
    while True:
        with suppress(OSError):  # a full disk costs numbers, not mail
            publish(mine, render())
        await asyncio.sleep(PUBLISH_SECONDS)


def _inherit(last: Path, gone: Path) -> None:
    """Add what a dead process counted to what those before it did; a sum that falls looks like a restart."""
    if last.exists():
        publish(gone, _counted([path.read_bytes() for path in (gone, last) if path.exists()]))
        last.unlink()


def publish_deaths(folder: Path, deaths: int) -> None:
    """Leave how many workers ended unasked: the supervisor serves no page. Never fails."""
    family = "gatepost_worker_deaths_total"
    text = (
        f"# HELP {family} Worker processes that ended unasked.\n# TYPE {family} counter\n{family} {deaths}\n"
    )
    with suppress(OSError):  # a full disk costs a number
        publish(folder / _SUPERVISOR, text.encode())


def forget(folder: Path) -> None:
    """Take away what the processes of an earlier start left."""
    for path in folder.glob("*.prom"):
        with suppress(OSError):
            path.unlink()


def published(folder: Path) -> list[bytes]:
    """Return the numbers that edge processes left, and the supervisor's."""
    now = time.time()  # noqa: TID251 - compared with file times
    texts = []
    with suppress(OSError):
        texts.append((folder / _SUPERVISOR).read_bytes())
    for path in sorted(folder.glob("edge-*.prom")):
        try:
            fresh, text = now - path.stat().st_mtime < STALE_SECONDS, path.read_bytes()
        except OSError:
            continue
        texts.append(text if fresh else _counted([text]))
    return texts


class _Sum(Collector):
    def __init__(self, texts: Iterable[bytes], kinds: Container[str]) -> None:
        self._texts = list(texts)
        self._kinds = kinds

    def collect(self) -> Iterator[Metric]:
        """Yield every family with the samples of all texts added up."""
        families: dict[str, tuple[Metric, dict[Key, float]]] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text.decode()):
                if family.type not in self._kinds:
                    continue
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
    return texts[0] if len(texts) == 1 else _added(texts, METRIC_TYPES)


def _counted(texts: list[bytes]) -> bytes:
    return _added(texts, _COUNTED)


def _added(texts: list[bytes], kinds: Container[str]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Sum(texts, kinds))
    return generate_latest(registry)
