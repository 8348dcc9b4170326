"""Where rules come from: the shipped Python modules and TOML files, the operator's files, entry points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from screening.facts import FACTS
from screening.needs import NEEDS
from screening.rule import Mode, Rule
from screening.toml_rules import Reader

SHIPPED = Path(__file__).parent / "rules.d"
MODULES = ("subjects", "headers", "body", "links", "attachments", "envelope", "identity", "dataloss")
#: hits that no rule makes, and words of conditions
RESERVED = frozenset({"malformed", "classifier", "true", "false", "null", "in"})
ENTRY_POINTS = "screening.rules"


def gathered(
    *,
    extra: Sequence[Path],
    python_rules: Sequence[Rule | str],
    scores: Mapping[str, float],
    off: Sequence[str],
    shadow: Sequence[str],
    on: Sequence[str] = (),
) -> tuple[list[Rule], dict[str, float], list[str]]:
    """Return all rules with the operator's changes, the group caps, and every fault."""
    reader = Reader()
    for path in [SHIPPED, *extra]:
        for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
            reader.file(file)
    rules = shipped_python()
    faults = reader.faults
    for given in python_rules:
        rules.extend([given] if isinstance(given, Rule) else _entry_point(given, faults))
    rules.extend(reader.rules)
    known = _distinct(rules, reader.groups, faults)
    for setting, names in (("scores", scores), ("off", off), ("shadow", shadow), ("on", on)):
        for name in names:
            if name not in known:
                close = get_close_matches(name, known, 1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                faults.append(f"{setting}: there is no rule {name!r}{hint}")
    modes = dict.fromkeys(on, Mode.ON) | dict.fromkeys(shadow, Mode.SHADOW)
    modes |= dict.fromkeys(off, Mode.OFF)
    return [_changed(rule, scores, modes) for rule in known.values()], reader.groups, faults


def _distinct(rules: Sequence[Rule], groups: Mapping[str, float], faults: list[str]) -> dict[str, Rule]:
    """Return the rules by name, the first of doubles; note what makes one unusable."""
    known: dict[str, Rule] = {}
    for rule in rules:
        place = f"{rule.source}: rules.{rule.id}"
        if rule.id in known:
            faults.append(f"{place}: the name is taken by {known[rule.id].source}")
        known.setdefault(rule.id, rule)
        if rule.id in RESERVED or rule.id in FACTS:
            faults.append(f"{place}: the name has a meaning of its own; choose another")
        faults.extend(
            f"{place}: needs {name!r}, which no mail has" for name in rule.needs if name not in NEEDS
        )
        if rule.group and rule.group not in groups:
            faults.append(f"{place}: group {rule.group!r} has no cap in [groups]")
    return known


def _changed(rule: Rule, scores: Mapping[str, float], modes: Mapping[str, Mode]) -> Rule:
    mode = modes.get(rule.id, rule.mode)
    score = float(scores.get(rule.id, rule.score))
    return rule if mode is rule.mode and score == rule.score else replace(rule, mode=mode, score=score)


def shipped_python() -> list[Rule]:
    """Return the rules written in Python that come with the product."""
    rules: list[Rule] = []
    for name in MODULES:
        module = import_module(f"screening.rules.{name}")
        rules.extend(value for value in vars(module).values() if isinstance(value, Rule))
    return rules


def _entry_point(name: str, faults: list[str]) -> list[Rule]:
    """Return the rules of an installed third party's module; only modules that configuration names load."""
    found = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    if not found:
        faults.append(f"python_rules: no installed package offers {name!r} in the group {ENTRY_POINTS}")
        return []
    try:
        module = found[0].load()
    except Exception as error:  # noqa: BLE001 - a stranger's import may raise anything
        faults.append(f"python_rules: {name!r} cannot be loaded: {error}")
        return []
    values = [module] if isinstance(module, Rule) else list(vars(module).values())
    return [value for value in values if isinstance(value, Rule)]
