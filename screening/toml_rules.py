"""Rules written in TOML, read into `Rule`s; every fault of a file is found at once.

[rules.lottery_win]
why    = "Subject announces a lottery win"
score  = 3.5
when   = { subject = '(?i)\\byou(.ve| have)? won\\b' }
hits   = ["You have won!"]
misses = ["Young wonders of the world"]

[groups]
advance_fee = 6          # the most that rules of this group may add together
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from screening.links import normal_host
from screening.rule import Mode, Rule, Words
from screening.scan import PARTS, pattern_fault
from screening.tuning.examples import faults_of

KEYS = ("why", "score", "group", "mode", "when", "unless", "words", "domains", "condition", "hits", "misses")
_ID = re.compile(r"[a-z][a-z0-9_]{2,60}")
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
MAX_SCORE = 100.0


class Reader:
    """Reads one file after the other; collects rules, group caps and faults."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.groups: dict[str, float] = {}
        self.faults: list[str] = []
        self._place = ""
        self._folder = Path()

    def wrong(self, sentence: str) -> None:
        """Note one fault, with its place."""
        self.faults.append(f"{self._place}: {sentence}")

    def file(self, path: Path) -> None:
        """Read one TOML file."""
        self._place, self._folder = path.name, path.parent
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.wrong(f"cannot be read: {error}")
            return
        for key in sorted(set(document) - {"rules", "groups"}):
            self.wrong(f"unknown table {key!r}: rules and groups are known")
        self._group_caps(document.get("groups", {}))
        rules = document.get("rules", {})
        if not isinstance(rules, dict):
            self.wrong("rules: is a table of rules")
            return
        for name, body in rules.items():
            self._place = f"{path.name}: rules.{name}"
            if not isinstance(body, dict):
                self.wrong("a rule is a table")
                continue
            self._rule(name, body, path.name)

    def _group_caps(self, groups: Any) -> None:
        if not isinstance(groups, dict):
            self.wrong("groups: is a table from a group to its cap")
            return
        for name, cap in groups.items():
            if isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 < cap < math.inf:
                self.wrong(f"groups.{name}: {cap!r} given, a number above 0 is allowed")
            else:
                self.groups[name] = float(cap)

    def _rule(self, name: str, body: dict[str, Any], source: str) -> None:
        before = len(self.faults)
        if not _ID.fullmatch(name):
            self.wrong("a rule's name is lower case letters, digits and _")
        for key in body:
            if key not in KEYS:
                close = get_close_matches(key, KEYS, 1)
                self.wrong(f"unknown key {key!r}" + (f" (did you mean {close[0]}?)" if close else ""))
        when, unless = self._patterns(body, "when"), self._patterns(body, "unless")
        words, domains = self._words(body), self._domains(body)
        condition = self._text(body, "condition")
        if not (when or words or domains or condition):
            self.wrong("a rule needs when, words, domains or condition")
        made = Rule(
            name,
            self._text(body, "why", needed=True),
            self._score(body),
            when=when,
            unless=unless,
            words=words,
            domains=domains,
            condition=condition,
            group=self._text(body, "group"),
            mode=self._mode(body),
            hits=self._examples(body, "hits"),
            misses=self._examples(body, "misses"),
            source=source,
        )
        if len(self.faults) == before:
            self.rules.append(made)

    def _text(self, body: dict[str, Any], key: str, *, needed: bool = False) -> str:
        value = body.get(key, "")
        if not isinstance(value, str):
            self.wrong(f"{key}: {value!r} given, a text is allowed")
            return ""
        if needed and not value.strip():
            self.wrong(f"{key}: is missing")
        return value

    def _score(self, body: dict[str, Any]) -> float:
        score = body.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= MAX_SCORE:
            self.wrong(f"score: {score!r} given, a number from -100 to 100 is allowed")
            return 0.0
        return float(score)

    def _mode(self, body: dict[str, Any]) -> Mode:
        try:
            return Mode(body.get("mode", "on"))
        except ValueError:
            self.wrong(f"mode: {body['mode']!r} given, on, shadow or off is allowed")
            return Mode.ON

    def _examples(self, body: dict[str, Any], key: str) -> tuple[Any, ...]:
        value = body.get(key, [])
        if not isinstance(value, list):
            self.wrong(f"{key}: is a list of examples")
            return ()
        for example in value:
            for fault in faults_of(example):
                self.wrong(f"{key}: {fault}")
        return tuple(value)

    def _strings(self, body: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """Return a text, a list of texts, or the lines of "file:NAME" beside the rules."""
        given = value = body.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            value = self._lines(value[5:]) if value.startswith("file:") else [value]
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v.strip() for v in value):
            self.wrong(f"{key}: a text or a list of texts is allowed, none of them blank")
            return ()
        if not value:  # without it the rule would say something else
            self.wrong(f"{key}: {given!r} names nothing; fill it or take it out")
        return tuple(value)

    def _domains(self, body: Mapping[str, Any]) -> frozenset[str]:
        """Return the domains as links are compared with them: lower case, IDNA."""
        found = []
        for text in self._strings(body, "domains"):
            domain = normal_host(text.strip())
            if not _DOMAIN.fullmatch(domain) or set(text) & set("/:@*"):
                self.wrong(
                    f"domains: {text!r} is no domain: write it like evil.example (hosts in it count too)"
                )
            found.append(domain)
        return frozenset(found)

    def _lines(self, name: str) -> list[str]:
        try:
            lines = (self._folder / name).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.wrong(f"{name}: cannot be read: {error}")
            return []
        return [text for line in lines if (text := line.strip()) and not text.startswith("#")]

    def _patterns(self, body: dict[str, Any], key: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        table = body.get(key, {})
        if not isinstance(table, dict):
            self.wrong(f"{key}: is a table from a part of the mail to patterns")
            return ()
        out = []
        for part in table:
            if not self._part(part, key):
                continue
            patterns = self._strings(table, part)
            for pattern in patterns:
                fault = pattern_fault(pattern)
                if fault:
                    self.wrong(f"{key}.{part}: pattern {pattern!r}: {fault}")
            out.append((part, patterns))
        return tuple(out)

    def _part(self, part: str, key: str) -> bool:
        if part in PARTS:
            return True
        self.wrong(f"{key}: unknown part {part!r}, allowed are {', '.join(PARTS)}")
        return False

    def _words(self, body: dict[str, Any]) -> tuple[Words, ...]:
        table = body.get("words", {})
        if not isinstance(table, dict):
            self.wrong("words: is a table from a part of the mail to words")
            return ()
        at_least = table.get("at_least", 1)
        if isinstance(at_least, bool) or not isinstance(at_least, int) or at_least < 1:
            self.wrong(f"words.at_least: {at_least!r} given, a whole number above 0 is allowed")
            return ()
        parts = [part for part in table if part != "at_least" and self._part(part, "words")]
        found = tuple(Words(part, self._strings(table, part), at_least) for part in parts)
        for one in found:
            if 0 < len(set(one.words)) < at_least:
                self.wrong(
                    f"words.at_least: {at_least} given, but {one.part} names {len(set(one.words))} words"
                )
        return found
