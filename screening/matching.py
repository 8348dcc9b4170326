"""The rules that test parts of a mail by patterns, words and domains: compiled together, run in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2

from screening.rule import RuleError
from screening.scan import MAX_MEMORY_BYTES, PARTS, Literals, Patterns, size_of

if TYPE_CHECKING:
    from screening.mail import Mail
    from screening.rule import Rule, Words

#: one part of the mail, and the numbers of the patterns of which one must match there
_Asked = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Group:
    """Words of one part: as the automaton knows them, and as the rule writes them."""

    part: str
    known: frozenset[str]
    words: tuple[tuple[str, str], ...]
    at_least: int

    @classmethod
    def of(cls, words: Words) -> _Group:
        pairs = tuple((word.lower(), word) for word in words.words)
        return cls(words.part, frozenset(low for low, _ in pairs), pairs, words.at_least)


@dataclass(frozen=True, slots=True)
class _Test:
    """One rule: all its kinds of test that are present must hold."""

    id: str
    when: tuple[_Asked, ...]
    unless: tuple[_Asked, ...]
    groups: tuple[_Group, ...]
    domains: frozenset[str]

    def evidence(self, mail: Mail, seen: _Seen) -> str | None:
        """Return the words or the link that made it hold, None where it does not."""
        evidence = ""
        if self.domains and not (evidence := _domain(self.domains, mail)):
            return None
        for part, numbers in self.when:
            number = seen.first(part, numbers)
            if number is None:
                return None
            evidence = evidence or seen.matched(part, number)
        if any(seen.first(part, numbers) is not None for part, numbers in self.unless):
            return None
        words: list[str] = []
        for group in self.groups:
            found = seen.words(group.part)
            if found.isdisjoint(group.known):
                return None
            here = [word for low, word in group.words if low in found]
            if len(here) < group.at_least:
                return None
            words += here
        return evidence or ", ".join(words)


class Matcher:
    """The compiled tests of a ruleset; immutable, shared by threads."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        numbers: dict[str, dict[str, int]] = {}
        words: dict[str, dict[str, None]] = {}
        for rule in rules:
            for part, texts in (*rule.when, *rule.unless):
                known = numbers.setdefault(part, {})
                for text in texts:
                    known.setdefault(text, len(known))
            for group in rule.words:
                words.setdefault(group.part, {}).update(dict.fromkeys(group.words))
        self._tests = tuple(_test(rule, numbers) for rule in rules)
        #: by part and pattern: the tests that it calls up
        self._called: dict[str, dict[int, list[int]]] = {}
        for place, test in enumerate(self._tests):
            for part, asked in test.when[:1]:
                for number in asked:
                    self._called.setdefault(part, {}).setdefault(number, []).append(place)
        #: tests that no pattern calls up
        always = [(place, test) for place, test in enumerate(self._tests) if not test.when]
        self._by_words = tuple(place for place, test in always if not test.domains)
        self._by_domain = tuple((place, test.domains) for place, test in always if test.domains)
        self.patterns = {part: _compiled(part, texts, rules) for part, texts in numbers.items()}
        self.literals = {part: Literals(texts) for part, texts in words.items() if texts}

    def run(self, mail: Mail, found: dict[str, str]) -> None:
        """Add the rules that hold to `found`, in the order of the rules, each with its evidence."""
        seen = _Seen(self, mail)
        called = set(self._by_words)
        for part, by_number in self._called.items():
            for number in seen.numbers(part):
                called.update(by_number.get(number, ()))
        if self._by_domain and (names := mail.linked):
            called.update(place for place, domains in self._by_domain if not domains.isdisjoint(names))
        for place in sorted(called):
            test = self._tests[place]
            evidence = test.evidence(mail, seen)
            if evidence is not None:
                found[test.id] = evidence


def _compiled(part: str, texts: Iterable[str], rules: Sequence[Rule]) -> Patterns:
    """Return the patterns of one part; RuleError names the largest where they are too large together."""
    try:
        return Patterns(texts)
    except re2.error as error:
        found = (
            (rule, text)
            for rule in rules
            for where, asked in (*rule.when, *rule.unless)
            for text in asked
            if where == part
        )
        rule, text = max(found, key=lambda one: size_of(one[1]))
        place = f"{rule.source}: rules.{rule.id}: {part}"
        why = f"all patterns of this part need more than {MAX_MEMORY_BYTES >> 20} MiB together"
        hint = f"the largest is {text[:80]!r}: use smaller repetitions"
        raise RuleError([f"{place}: {why}; {hint}"]) from error


def _test(rule: Rule, numbers: dict[str, dict[str, int]]) -> _Test:
    def asked(tests: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[_Asked, ...]:
        return tuple((part, tuple(numbers[part][text] for text in texts)) for part, texts in tests)

    groups = tuple(_Group.of(words) for words in rule.words)
    return _Test(rule.id, asked(rule.when), asked(rule.unless), groups, rule.domains)


def _domain(domains: frozenset[str], mail: Mail) -> str:
    for link in mail.clickable:
        if link.domain in domains or link.host in domains:
            return link.href
    return ""


class _Seen:
    """What the one pass over each part of one mail found; a part is read when a test first asks."""

    __slots__ = ("_mail", "_matcher", "_numbers", "_texts", "_words")

    def __init__(self, matcher: Matcher, mail: Mail) -> None:
        self._matcher = matcher
        self._mail = mail
        self._texts: dict[str, str] = {}
        self._numbers: dict[str, frozenset[int]] = {}
        self._words: dict[str, set[str]] = {}

    def _text(self, part: str) -> str:
        text = self._texts.get(part)
        if text is None:
            text = self._texts[part] = PARTS[part](self._mail)
        return text

    def numbers(self, part: str) -> frozenset[int]:
        """Return the numbers of the part's patterns that match."""
        numbers = self._numbers.get(part)
        if numbers is None:
            numbers = self._numbers[part] = frozenset(self._matcher.patterns[part].found(self._text(part)))
        return numbers

    def first(self, part: str, asked: tuple[int, ...]) -> int | None:
        """Return the first of these patterns that matches, None if none does."""
        numbers = self.numbers(part)
        return next((number for number in asked if number in numbers), None) if numbers else None

    def matched(self, part: str, number: int) -> str:
        """Return what a pattern matched."""
        return self._matcher.patterns[part].evidence(number, self._text(part))

    def words(self, part: str) -> set[str]:
        """Return the known words of a part that occur there, in lower case."""
        found = self._words.get(part)
        if found is None:
            literals = self._matcher.literals.get(part)
            found = self._words[part] = literals.found(self._text(part)) if literals else set()
        return found
