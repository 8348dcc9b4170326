"""Background work of the control process: standings that complaints move, and data that has had its time."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from relay import clock, premises, screens
from relay.errors import StoreError
from relay.events import SwitchTurned
from relay.store import retention
from relay.store.emergency import Name, Switches, switched_on
from screening.classify import lessons
from screening.classify.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay.config import Config
    from relay.feedback.intake import Intake
    from relay.metrics import Metrics
    from relay.pipeline import Pipeline
    from relay.store.engine import Store

DECIDE_SECONDS = 0.25
PURGE_SECONDS = 3600
LOOK_SECONDS = 30.0
#: So often the ends of brake and bypass are noticed; that they end then, nobody has to notice.
SWITCH_SECONDS = 10.0
LEARN_SECONDS = 1.0
#: So often what complaints taught is learned, and so long that may take.
STUDY_SECONDS, STUDY_LIMIT_SECONDS = 600.0, 900.0


class SwitchWatch(Switches):
    """The emergency switches of a process, read from the store."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        super().__init__()
        self._store = store
        self._metrics = metrics
        self._tells = False
        self._told: set[Name] = set()

    def braked(self) -> bool:
        """Return whether nothing is delivered at this moment."""
        return self.on(Name.BRAKE, clock.now())

    def bypassed(self) -> bool:
        """Return whether nothing bites at this moment."""
        return self.on(Name.BYPASS, clock.now())

    def read(self) -> None:
        """Take the switches as they are, and say what changed; StoreError. Blocks."""
        with self._store.read() as tx:
            found = switched_on(tx, clock.now())
        self.take(found)
        for name in Name:
            one = next((one for one in found if one.name is name), None)
            self._metrics.switches.labels(str(name)).set(1 if one else 0)
            if self._tells and (one is not None) != (name in self._told):
                self._told ^= {name}
                facts = (one.until.isoformat(), one.set_by, one.reason) if one else ("", "", "")
                self._metrics.emit(SwitchTurned(str(name), one is not None, *facts))

    async def watch_forever(self, *, tell: bool) -> None:
        """Read the switches at the start, and now and then to say that one has ended (`tell`)."""
        self._tells = tell
        while True:
            with suppress(StoreError):
                await asyncio.to_thread(self.read)
            await asyncio.sleep(SWITCH_SECONDS)


async def decide_forever(intake: Intake, metrics: Metrics) -> None:
    """Judge accounts with new reports, and end standings whose time is over, four times a second."""
    while True:
        try:
            await intake.sweep(clock.now())
        except StoreError:
            pass  # the store's own health says so; what waits is judged when it is back
        except Exception as error:  # noqa: BLE001 - a bug here ends nothing else
            metrics.bug("sweep", error)
        await asyncio.sleep(DECIDE_SECONDS)


async def purge_forever(store: Store, config: Callable[[], Config], metrics: Metrics) -> None:
    """Delete what the configuration's retention says, every hour."""
    while True:
        try:
            await retention.purge_all(store, clock.now(), config().retention)
        except StoreError:
            pass
        except Exception as error:  # noqa: BLE001 - a bug here ends nothing else
            metrics.bug("retention", error)
        await asyncio.sleep(PURGE_SECONDS)


async def look_forever(config: Callable[[], Config], metrics: Metrics) -> None:
    """Show what this node may run out of: its certificate's days, its disks' room."""
    metrics.node.started.set(clock.now().timestamp())
    while True:
        try:
            metrics.node.note(await asyncio.to_thread(premises.look, config()))
        except Exception as error:  # noqa: BLE001 - as above
            metrics.bug("premises", error)
        await asyncio.sleep(LOOK_SECONDS)


async def study_forever(config: Callable[[], Config], metrics: Metrics) -> None:
    """Have the classifier learn what complaints taught, every ten minutes, in a process of its own."""
    while True:
        try:
            path = screens.model_path(config())
            if lessons.waiting(path):
                await _study(path)
        except Exception as error:  # noqa: BLE001 - as above
            metrics.bug("lessons", error)
        await asyncio.sleep(STUDY_SECONDS)


async def _study(path: Path) -> None:
    command = (sys.executable, "-m", "screening.classify.lessons", str(path))
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=pipe)
    try:
        async with asyncio.timeout(STUDY_LIMIT_SECONDS):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ModelError(said.decode("utf-8", "replace").strip() or f"ended with {process.returncode}")


async def learn_forever(pipeline: Pipeline, metrics: Metrics) -> None:
    """Take up the model that `gatepost learn` wrote, within a second; a damaged one changes nothing."""
    while True:
        try:
            await asyncio.to_thread(pipeline.screen.refresh)
        except Exception as error:  # noqa: BLE001 - as above
            metrics.bug("classifier", error)
        await asyncio.sleep(LEARN_SECONDS)
