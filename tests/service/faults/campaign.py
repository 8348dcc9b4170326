"""A seeded campaign of kills against the real daemon under load, and the proof of Invariant I after each.

Each kill is aimed at one window of the catalogue (DU-11…18, 20); what it hit is told by evidence afterwards:
what each client had said and heard, what the customer's server had taken, and what the dead daemon's outbox
holds. One kill falls into several windows, because several messages were on their way.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.service.faults.load import Load
from tests.service.faults.site import Site
from tests.service.faults.warm import Starter
from tests.service.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.faults.book import Entry
    from tests.service.faults.site import Store
    from tests.service.faults.stores import Remains

WINDOWS = {
    "DU-11": "between MAIL and 354",
    "DU-12": "in the middle of DATA",
    "DU-13": "after the dot, before commit",
    "DU-14": "after commit, before 250",
    "DU-15": "after 250, before delivery",
    "DU-16": "in the server's DATA",
    "DU-17": "after the server's 250, before it is recorded",
    "DU-18": "in the making of a bounce",
    "DU-20": "in a reload",
}
#: Aimed at in vain for so long, a kill falls anyway.
PATIENCE_SECONDS = 4.0
#: Between two kills so many messages get their answer at least.
ANSWERS = 6


class Campaign(Site):
    """One daemon, one store, one schedule."""

    def __init__(self, home: Path, store: Store, *, seed: int, workers: int = 1, sessions: int = 6) -> None:
        self._starter = Starter() if workers == 1 else None
        super().__init__(home, store, workers=workers, starter=self._starter)
        self.dice = random.Random(seed)  # noqa: S311 - a schedule of faults that can be repeated
        self.hits: Counter[str] = Counter(dict.fromkeys(WINDOWS, 0))
        self.aimed: Counter[str] = Counter()
        self.kills = 0
        self._workers = workers
        self._struck = threading.Event()
        self._release = threading.Event()
        self._reloading = 0
        #: how far each client was at the last kill; a broken connection goes on taking bytes for a while
        self._phases: dict[int, str] = {}
        self._at_work: tuple[set[int], set[int], set[int]] = (set(), set(), set())
        store.watch()
        self.load = Load(self.relay, self.book, sessions, seed)

    # --- the schedule

    def run(self, kills: int, *, most: int = 0, tell: Callable[[], None] = lambda: None) -> list[str]:
        """Kill so often, or up to `most` while a window was missed; let all end; return what broke I."""
        broken: list[str] = []
        while not broken and (self.kills < kills or (self.kills < most and min(self.hits.values()) == 0)):
            window = min(WINDOWS, key=lambda name: (self.hits[name] + self.aimed[name], self.dice.random()))
            broken = self.kill(window)
            tell()
        if broken:
            self.load.end()
            return broken
        return self.finish()

    def kill(self, window: str) -> list[str]:
        """Start the daemon, let mail flow, kill it at a stage, and look at what is left."""
        self.relay.start()
        self._struck.clear()
        self._release.clear()
        self.load.let_in()
        self._flow(ANSWERS)
        self.aimed[window] += 1
        self._aim(window)
        if not self._struck.wait(PATIENCE_SECONDS):
            self._strike()
        self.load.shut()
        self._release.set()
        self.book.armed = None
        self.relay.wait_for_death()
        self.store.calm()
        self.load.quiet()
        until(lambda: self.upstream.connections == 0)
        self.kills += 1
        return self._examine()

    def _flow(self, answers: int) -> None:
        before = self._answers()
        until(lambda: self._answers() >= before + answers)

    def _answers(self) -> int:
        return sum(len(entry.answers) for entry in list(self.book.entries))

    def _strike(self) -> None:
        """Kill every process of the daemon, at once."""
        if self._struck.is_set():
            return
        upstream = self.upstream
        with upstream.lock:
            refused = {entry.number for entry in self.book.entries if entry.refused}
            self._at_work = (set(upstream.open), set(upstream.said), refused)
            self._phases = {e.number: e.phase for e in self.book.entries if e.fresh and e.phase != "answered"}
            self.relay.kill()
        self._struck.set()

    # --- aiming

    def _aim(self, window: str) -> None:
        moments = {"DU-11": "rcpt", "DU-12": "half", "DU-16": "go", "DU-17": "said"}
        if window in moments:
            self._when(moments[window], lambda entry: window != "DU-17" or entry.kind != "now", self._strike)
        elif window == "DU-15":
            self._when("answered", lambda entry: entry.kind == "later", self._strike)
        elif window == "DU-13":
            self._behind_a_stall("dot", lambda entry: entry.kind in ("later", "bad"))
        elif window == "DU-18":
            self._behind_a_stall("refusing", lambda entry: entry.promised)
        elif window == "DU-14":
            self._when(
                "dot" if self.store.name == "sqlite" else "half",
                lambda entry: entry.kind in ("later", "bad"), self._after_commit,
            )  # fmt: skip
        else:
            self._in_reload()

    def _when(self, event: str, fits: Callable[[Entry], bool], act: Callable[[], None]) -> None:
        """Act in the thread that sees the moment, the nth time that it comes."""
        left = [self.dice.randint(1, 3)]

        def armed(name: str, entry: Entry) -> None:
            if name == event and fits(entry):
                left[0] -= 1
                if left[0] == 0:
                    act()

        self.book.armed = armed

    def _behind_a_stall(self, event: str, fits: Callable[[Entry], bool]) -> None:
        """Let the store stand still from that moment, and kill when the daemon waits for it."""
        pause = self.dice.uniform(0.02, 0.1)

        def act() -> None:
            stalled = threading.Event()

            def hold() -> None:
                with self.store.stalled():
                    stalled.set()
                    time.sleep(pause)
                    self._strike()

            threading.Thread(target=hold, daemon=True).start()
            stalled.wait(PATIENCE_SECONDS)

        # a dot is stalled before it is sent, so that no commit can be faster
        self._when("half" if event == "dot" else event, fits, act)

    def _after_commit(self) -> None:
        """Let the store commit and tell nobody."""
        assert self.relay.process is not None
        self.store.kill_after_commit(self.relay.process.pid)
        seconds = 0.5 if self.store.name == "sqlite" else self.dice.uniform(0.05, 0.2)
        threading.Timer(seconds, self._strike).start()

    def _in_reload(self) -> None:
        assert self.relay.process is not None
        self.relay.process.send_signal(signal.SIGHUP)
        self._reloading = len(self.relay.events("config_reloaded")) + 1
        time.sleep(self.dice.uniform(0, 0.03))
        self._strike()

    # --- looking

    def _examine(self) -> list[str]:
        """Tell what the kill fell into, and forgive what it excuses after holding all to the promise."""
        remains = self.store.remains()
        for window in self._evidence(remains):
            self.hits[window] += 1
        with self.upstream.lock:
            self.upstream.said.clear()
        broken = remains.faults + self.book.broken(remains.waits, remains.reports)
        self._forgive(remains)
        return broken

    def _evidence(self, remains: Remains) -> set[str]:
        """Return the windows that this kill fell into."""
        open_then, said, refused = self._at_work
        found = {"DU-20"} if self._reloading > len(self.relay.events("config_reloaded")) else set()
        self._reloading = 0
        for entry in self.book.entries:
            n, broken = entry.number, entry.fresh and entry.phase != "answered"
            waits, phase = n in remains.ids, self._phases.get(entry.number, "") if broken else ""
            if phase in ("mail", "rcpt"):
                found.add("DU-11")
            elif phase in ("text", "half"):
                found.add("DU-12")
            elif phase == "dot" and waits:
                found.add("DU-14")
            elif phase == "dot" and n not in open_then | said and not entry.copies:
                found.add("DU-13")
            elif entry.promised and waits and n not in open_then | said | refused:
                found.add("DU-15")
            if n in open_then:
                found.add("DU-16")
            if n in said and (waits or broken):
                found.add("DU-17")
            if n in refused and any(one.startswith("bad") for one in remains.waits.get(n, ())):
                found.add("DU-18")
            entry.fresh = False
        return found

    def _forgive(self, remains: Remains) -> None:
        """Allow one more copy of what was taken and is not recorded; note what clients are owed."""
        for number, people in remains.waits.items():
            entry = self.book.entries[number]
            for one in people:
                if entry.copies[one] and not one.startswith("bad"):
                    entry.limit[one] = entry.copies[one] + 1
            if not entry.promised:
                entry.owed = remains.ids[number]
        for number in remains.reports:
            entry = self.book.entries[number]
            entry.refused = False
            if entry.bounces:
                entry.bounce_limit = entry.bounces + 1

    # --- the end

    def finish(self) -> list[str]:
        """Start a last time, let everything end, and prove the invariant on what there is then."""
        self.relay.start()
        self.load.let_in()
        self._flow(ANSWERS)
        self.load.end()
        return self.settle()

    def close(self) -> None:
        """End everything that runs."""
        super().close()
        self.load.end()
        if self._starter:
            self._starter.close()

    def report(self) -> str:
        """Return what was done, window by window."""
        entries = self.book.entries
        tries = Counter(answer[:1].decode() or "none" for entry in entries for answer in entry.answers)
        copies = sum(entry.copies.total() for entry in entries)
        twice = sum(count - 1 for entry in entries for count in entry.copies.values() if count)
        lines = [
            f"{self.kills} kills under load, {self.store.name}, workers = {self._workers}",
            *(f"  {name} {what:<46} hit {self.hits[name]:>4}  aimed at {self.aimed[name]:>4}"
              for name, what in WINDOWS.items()),
            f"  {len(entries)} messages; answers: 250 {tries['2']}, 4xx {tries['4']}, 5xx {tries['5']},"
            f" none {tries['none']}",
            f"  {copies} copies taken by the server, {sum(entry.bounces for entry in entries)} bounces;"
            f" second copies, each excused by a kill or by the client's own retry: {twice};"
            f" set aside after three kills and let go on: {self.aside}",
        ]  # fmt: skip
        return "\n".join(lines)
