"""The only place that reads the time; everyone else is handed `now`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


#: Returns the current moment as aware UTC.
now = partial(datetime.now, UTC)  # noqa: TID251 - this is the clock
#: Returns seconds that never run backwards; for durations and deadlines only.
monotonic = time.monotonic


def micros(moment: datetime) -> int:
    """Return `moment` as integer microseconds since 1970 UTC, the form that the store keeps."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(micros_utc: int) -> datetime:
    """Return the aware UTC moment of integer microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros_utc)
