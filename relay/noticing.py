"""Tells customers, staff and their programs what became of a standing: from the store, by mail and webhook.

A notice is derived from its case, waits in the store and is marked when it was taken, so that a crash in
between tells it twice (with the same Message-ID or case id) rather than never. The channels do not wait for
each other.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from relay import clock
from relay.errors import ConfigError, Fault, RelayError, StoreError
from relay.model import Tls
from relay.notice import APPEALABLE, Channel
from relay.notices import appeal, message, webhook
from relay.notices.templates import Templates
from relay.notices.webhook import Hook
from relay.store import notices
from relay.upstream.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.config import Config
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.store.engine import Store
    from relay.store.notices import Due
    from relay.upstream.pool import Pool

POLL_SECONDS = 1.0
#: cases older than this, from before a restart, are told no more
CATCH_UP = timedelta(hours=1)
#: a case may be committed so late: one sweep over many accounts gives all its cases one time
_LATE = timedelta(minutes=10)
#: cases that one transaction makes notices of: the writer is never held up
_CASES = 100
#: after so long a channel is slow
_SLOW_SECONDS = 10.0
#: one notice by mail, connection and all
_MAIL_SECONDS = 60.0


class Noticer:
    """Derives, sends and marks; one in the control process."""

    def __init__(self, config: Config, store: Store, pool: Pool, keyring: Keyring) -> None:
        """Read templates and secret; ConfigError with every fault at once."""
        own = config.notices
        self._config = own
        self._store = store
        self._pool = pool
        self._keyring = keyring
        self._base = own.appeals or config.console.url
        self._seen: datetime | None = None
        #: cases of the last minutes whose notices are made
        self._known: frozenset[str] = frozenset()
        self._templates, self._hook = prepare(config)
        self._route = Route("notices", (own.server,), Tls(own.tls)) if own.server else None
        self.channels = tuple(self._channels())

    def _channels(self) -> Iterable[Channel]:
        if self._route:
            yield Channel.CUSTOMER
            if self._config.staff:
                yield Channel.STAFF
        if self._hook:
            yield Channel.WEBHOOK

    async def tell(self, now: datetime) -> int:
        """Tell what is to be told now; how many notices were tried."""
        if not self.channels:
            return 0
        since = self._seen or now - CATCH_UP
        recent = await self._store.query(lambda tx: notices.recent(tx, since))
        cases = [one for one in recent if one not in self._known]
        for first in range(0, len(cases), _CASES):
            some = cases[first : first + _CASES]
            await self._store.write(partial(notices.derive, case_ids=some, now=now, channels=self.channels))
        self._seen, self._known = now - _LATE, frozenset(recent)
        waiting = await self._store.query(lambda tx: notices.due(tx, now))
        async with asyncio.TaskGroup() as tasks:
            for channel in Channel:
                tasks.create_task(self._one_by_one([one for one in waiting if one.channel is channel]))
        return len(waiting)

    async def _one_by_one(self, waiting: list[Due]) -> None:
        began = clock.monotonic()
        for one in waiting:
            if clock.monotonic() - began >= _SLOW_SECONDS:
                return  # the rest comes with the next round, so that the other channels wait no longer
            fault = await self._deliver(one)
            await self._store.write(partial(_settle, one=one, now=clock.now(), fault=fault))

    async def _deliver(self, one: Due) -> str:
        """Return "" when it was taken, or why not."""
        match one.channel:
            case Channel.CUSTOMER:
                contact = message.address(one.contact)
                if not contact:
                    return ""
                return await self._mail(self._appealable(one), str(one.notice.kind), [contact])
            case Channel.STAFF:
                if not self._config.staff:
                    return "nobody of the staff is named"
                return await self._mail(one, "staff", list(self._config.staff))
            case Channel.WEBHOOK:
                return await self._post(one)

    def _appealable(self, one: Due) -> Due:
        """Add the link by which the customer appeals, where there is something to appeal against."""
        if one.notice.kind not in APPEALABLE or not one.notice.set_by.startswith("policy"):
            return one
        link = appeal.link(self._base, self._keyring, one.notice.case_id)
        return replace(one, notice=replace(one.notice, appeal=link))

    async def _mail(self, one: Due, template: str, recipients: list[str]) -> str:
        if self._route is None:
            return "no server for notices is configured"
        try:
            subject, text = self._templates.render(template, one.notice)
        except Exception as error:  # noqa: BLE001 - a branch that the sample did not take, whatever is in it
            return f"template {template}: {type(error).__name__}: {error}"[:200]
        sender = self._config.sender
        mail = message.compose(
            one.notice, one.channel, subject, text, sender=sender, recipients=recipients, now=one.notice.at
        )
        transaction = self._pool.transaction(self._route)
        try:
            async with asyncio.timeout(_MAIL_SECONDS):
                reply = await transaction.mail(sender)
                if reply.ok:
                    answers = [await transaction.rcpt(recipient) for recipient in recipients]
                    # one member of staff who left does not keep it from the others
                    reply = next((answer for answer in answers if answer.ok), answers[0])
                if reply.ok:
                    reply = await transaction.data([mail])
        except (RelayError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"[:200]
        finally:
            await transaction.abandon()
        return "" if reply.ok else f"{reply.code} {reply.text}"[:200]

    async def _post(self, one: Due) -> str:
        if self._hook is None:
            return "no webhook is configured"
        body = message.payload(one.notice)
        signature = message.sign(self._hook.secret, body, int(clock.now().timestamp()))
        status = await webhook.post(self._hook.url, body, {"Gatepost-Signature": signature})
        return "" if 200 <= status < 300 else f"answered {status}" if status else "gave no answer"


def _settle(tx: Connection, *, one: Due, now: datetime, fault: str) -> None:
    if fault:
        notices.failed(tx, one, now, fault)
    else:
        notices.sent(tx, one.id)


async def tell_forever(noticer: Callable[[], Noticer], metrics: Metrics) -> None:
    """Tell what is to be told, every second, by the noticer of the configuration in force."""
    while True:
        try:
            await noticer().tell(clock.now())
        except* StoreError:
            pass  # the store's own health says so; notices are told when it is back
        except* Exception as group:  # noqa: BLE001 - a bug here ends nothing else
            metrics.bug("notices", group)
        await asyncio.sleep(POLL_SECONDS)


def prepare(config: Config) -> tuple[Templates, Hook | None]:
    """Return the texts and the webhook of a configuration; ConfigError with every fault of both."""
    own, faults = config.notices, []
    texts, hook = Templates({}), None
    try:
        texts = Templates.load(config.path(own.templates) if own.templates else None)
    except ConfigError as error:
        faults += error.faults
    try:
        hook = _hook(config) if own.webhook else None
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(faults)
    return texts, hook


def _hook(config: Config) -> Hook:
    own, path = config.notices, config.path(config.notices.webhook_secret)
    faults = []
    if wrong := webhook.fault_of(own.webhook):
        faults.append(Fault("notices.webhook", own.webhook, wrong))
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        secret = b""
        faults.append(Fault("notices.webhook_secret", str(path), error.strerror or "cannot be read"))
    else:
        if len(secret) < 16:
            faults.append(Fault("notices.webhook_secret", str(path), "must hold at least 16 characters"))
    if faults:
        raise ConfigError(faults)
    return Hook(own.webhook, secret)
