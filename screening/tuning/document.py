"""The page of all shipped rules, written from the rules themselves.

`python -m screening.tuning.document > screening/RULES.md` renews it; a test fails while it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from screening.facts import FACTS
from screening.rule import Mode, Rule
from screening.ruleset import Ruleset, load
from screening.scan import PARTS


def page(ruleset: Ruleset) -> str:
    """Return the page as Markdown."""
    lines = [
        "# The shipped rules",
        "",
        "Written from the rules by `python -m screening.tuning.document`; README.md says how to add one.",
        f"{len(ruleset.rules)} rules; points add up, a group's rules never add more than its cap.",
        "",
    ]
    for source in dict.fromkeys(rule.source for rule in ruleset.rules):
        lines += [f"## {source}", "", "| rule | points | group | why |", "|---|---|---|---|"]
        lines += _rows(rule for rule in ruleset.rules if rule.source == source)
        lines.append("")
    lines += ["## Group caps", "", "| group | most points |", "|---|---|"]
    lines += [f"| {name} | {cap:g} |" for name, cap in sorted(ruleset.groups.items())]
    lines += ["", "## Facts for conditions", "", "| name | meaning |", "|---|---|"]
    lines += [f"| {name} | {fact.why} |" for name, fact in FACTS.items()]
    lines += ["", f"Parts for patterns and words: {', '.join(PARTS)}.", ""]
    return "\n".join(lines)


def _rows(rules: Iterable[Rule]) -> list[str]:
    rows = []
    for rule in rules:
        off = " (off)" if rule.mode is Mode.OFF else ""
        rows.append(f"| {rule.id}{off} | {rule.score:g} | {rule.group} | {rule.why.replace('|', '/')} |")
    return rows


if __name__ == "__main__":
    sys.stdout.write(page(load()))
