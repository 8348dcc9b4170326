"""Background work of the control process: standings that complaints move, and data that has had its time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay import clock
from relay.errors import StoreError
from relay.store import retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.config import Config
    from relay.feedback.intake import Intake
    from relay.metrics import Metrics
    from relay.pipeline import Pipeline
    from relay.store.engine import Store

DECIDE_SECONDS = 0.25
PURGE_SECONDS = 3600
LEARN_SECONDS = 1.0


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


async def learn_forever(pipeline: Pipeline, metrics: Metrics) -> None:
    """Take up the model that `gatepost learn` wrote, within a second; a damaged one changes nothing."""
    while True:
        try:
            await asyncio.to_thread(pipeline.screen.refresh)
        except Exception as error:  # noqa: BLE001 - as above
            metrics.bug("classifier", error)
        await asyncio.sleep(LEARN_SECONDS)
