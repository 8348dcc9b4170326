"""What is known of a message beyond its words: texts that were called spam, and the habits of its account.

All in memory: a profile is read in the background when an account first sends, and again every few hours;
known texts are read at the start and when they change. Nothing here waits for the store.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from policies import habits as policy
from policies.habits import Act, Profile
from relay.errors import StoreError
from relay.store import campaigns as texts
from relay.store import changes
from relay.store import habits as store_habits
from screening.fingerprint import Campaigns
from screening.verdict import Hit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from relay.metrics import Metrics
    from relay.model import Account
    from relay.store.campaigns import Campaign
    from relay.store.engine import Store
    from screening.mail import Mail
    from screening.verdict import Verdict

KNOWN_SPAM, SHARED_TEXT, OUT_OF_HABIT = "known_spam", "shared_spam_text", "out_of_habit"
STAFF_POINTS, COMPLAINTS_POINTS, SHARED_POINTS = 5.0, 2.0, 2.5
#: From these points on a message's text is remembered, to see it again from other accounts.
SUSPICIOUS = 2.0
#: So many accounts, of at least two customers, that send one suspicious text within a day are a campaign.
ENOUGH_ACCOUNTS, ENOUGH_CUSTOMERS = 3, 2
DAY = timedelta(hours=24)
#: A profile is read again after this; so many are in memory.
FRESH = timedelta(hours=4)
MOST_PROFILES = 50_000


@dataclass(eq=False, slots=True)
class Sighting:
    """Who sent one suspicious text since a moment, as (account, customer)."""

    since: datetime
    senders: set[tuple[int, int]] = field(default_factory=set)


@dataclass(slots=True)
class Kept:
    """An account's profile, and what it sent today."""

    profile: Profile
    read_at: datetime
    day: date
    today: int

    def count(self, day: date, recipients: int) -> None:
        """Add what went out on a day; another day begins at nothing."""
        if day != self.day:
            self.day, self.today = day, 0
        self.today += recipients


class Familiar:
    """One for a process."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._known: Campaigns[Campaign] = Campaigns(texts.MOST)
        self._seen: Campaigns[Sighting] = Campaigns()
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._reading: dict[int, asyncio.Task[None]] = {}

    def load(self) -> None:
        """Read the texts that are known as spam; blocks, StoreError."""
        with self._store.read() as tx:
            found = texts.known(tx)
        known: Campaigns[Campaign] = Campaigns(texts.MOST)
        for one in reversed(found):
            if one.in_force:
                known.add(one.fingerprint, one)
        self._known = known

    def heard(self, heard: Sequence[changes.Change]) -> None:
        """Forget profiles that were erased."""
        for change in heard:
            if change.kind == changes.HABITS and change.key.isdigit():
                self._kept.pop(int(change.key), None)

    def judge(self, account: Account, mail: Mail, verdict: Verdict, act: Act) -> Verdict:
        """Add what is known of the text and of the account to a verdict."""
        if verdict.malformed:
            return verdict
        hits = [*self._text(account, mail, verdict, act.at)]
        profile = self._profile(
            account, act.at
        )  # asked for even where nothing is to be weighed: it is read now
        content = verdict.score + sum(hit.score for hit in hits)
        if content >= policy.LEAST_CONTENT:
            found = policy.novelty(profile, self._with_today(account, act))
            if points := policy.compromise(content, found):
                words = f"{', '.join(found.reasons)}: novelty {found.score:.2f} of content {content:.2f}"
                hits.append(Hit(OUT_OF_HABIT, points, words))
        return replace(verdict, hits=(*verdict.hits, *hits)) if hits else verdict

    def sent(self, account: Account, recipients: int, now: datetime) -> None:
        """Count what went out today."""
        if kept := self._kept.get(account.id):
            kept.count(now.date(), recipients)

    # --- texts

    def _text(self, account: Account, mail: Mail, verdict: Verdict, now: datetime) -> Sequence[Hit]:
        match = self._known.nearest(mail.fingerprint)
        if match is not None:
            one = match.label
            staff = one.source == texts.STAFF
            why = "staff deleted it" if staff else f"{one.reports} people complained"
            words = f"{why}, as message {one.message_id} ({match.bits} of 64 bits differ)"
            return (Hit(KNOWN_SPAM, STAFF_POINTS if staff else COMPLAINTS_POINTS, words),)
        if verdict.score < SUSPICIOUS or not mail.fingerprint:
            return ()
        return self._shared(account, mail.fingerprint, now)

    def _shared(self, account: Account, value: int, now: datetime) -> Sequence[Hit]:
        """Remember a suspicious text, and tell whether several customers' accounts send it."""
        near = self._seen.nearest(value)
        seen = near.label if near is not None and now - near.label.since < DAY else None
        if seen is None:
            seen = Sighting(now)
            self._seen.add(value, seen)
        seen.senders.add((account.id, account.customer.id))
        customers = len({customer for _, customer in seen.senders})
        if len(seen.senders) < ENOUGH_ACCOUNTS or customers < ENOUGH_CUSTOMERS:
            return ()
        who = f"{len(seen.senders)} accounts of {customers} customers"
        words = f"{who} send this text since {seen.since:%H:%M} UTC"
        return (Hit(SHARED_TEXT, SHARED_POINTS, words),)

    # --- habits

    def _with_today(self, account: Account, act: Act) -> Act:
        kept = self._kept.get(account.id)
        if kept is None:
            return act
        kept.count(act.at.date(), 0)
        return replace(act, today=act.recipients + kept.today)

    def _profile(self, account: Account, now: datetime) -> Profile:
        """Return what is in memory, an empty profile before the first reading; read again in time."""
        kept = self._kept.get(account.id)
        if (kept is None or now - kept.read_at > FRESH) and account.id not in self._reading:
            task = asyncio.get_running_loop().create_task(self._read(account.id, now))
            self._reading[account.id] = task
            task.add_done_callback(lambda _: self._reading.pop(account.id, None))
        return kept.profile if kept is not None else Profile()

    async def _read(self, number: int, now: datetime) -> None:
        try:
            profile = await self._store.query(lambda tx: store_habits.profile(tx, number, now))
            today = await self._store.query(lambda tx: store_habits.today(tx, number, now))
        except StoreError:
            return  # the store's own health says so; the next message asks again
        except Exception as error:  # noqa: BLE001 - what is not known tells nothing
            self._metrics.bug("habits", error)
            return
        self._kept[number] = Kept(profile, now, now.date(), today)
        self._kept.move_to_end(number)
        while len(self._kept) > MOST_PROFILES:
            self._kept.popitem(last=False)
