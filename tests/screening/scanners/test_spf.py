"""The SPF suite of RFC 7208 (203 cases, ../shared/data), and what a hostile zone may cost (CASES RE-28)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from screening.scanners.dmarc import Records
from screening.scanners.guard import Unavailable
from screening.scanners.spf import MAX_QUERIES, check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUITE = Path(__file__).resolve().parents[4] / "shared/data/auth/rfc7208-tests.yml"


def cases() -> list[Any]:
    if not SUITE.is_file():
        return [pytest.param({}, {}, marks=pytest.mark.skip("no suite (../shared/data/auth)"))]
    yaml: Any = pytest.importorskip("yaml")
    return [
        pytest.param(case, document["zonedata"], id=title)
        for document in yaml.safe_load_all(SUITE.read_text(encoding="utf-8"))
        for title, case in document["tests"].items()
    ]


@dataclass
class Zone:
    """The suite's zone data as DNS would answer."""

    data: Mapping[str, Sequence[Any]]
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = {name.lower(): entries for name, entries in self.data.items()}

    async def __call__(self, name: str, kind: str) -> Records:
        self.asked.append(f"{name} {kind}")
        for _ in range(10):
            entries = self.names.get(name.lower().rstrip("."))
            if entries is None:
                return Records(exists=False)
            found = self._texts(entries, kind)
            if found:
                return Records(exists=True, texts=found)
            if "TIMEOUT" in entries:
                raise Unavailable("timeout")
            onward = [entry["CNAME"] for entry in entries if isinstance(entry, dict) and "CNAME" in entry]
            if not onward:
                return Records(exists=True)
            name = onward[0]
        raise Unavailable("a loop")

    @staticmethod
    def _texts(entries: Sequence[Any], kind: str) -> tuple[str, ...]:
        records = [entry for entry in entries if isinstance(entry, dict)]
        # the suite writes most records as of type SPF, which stands for TXT where there is none
        if kind == "TXT" and not any("TXT" in record for record in records):
            kind = "SPF"
        values = [record[kind] for record in records if kind in record and record[kind] != "NONE"]
        if kind == "MX":
            return tuple(f"{preference} {host}" for preference, host in values)
        return tuple("".join(value) if isinstance(value, list) else str(value) for value in values)


@pytest.mark.parametrize(("case", "zonedata"), cases())
async def test_the_suite(case: Mapping[str, Any], zonedata: Mapping[str, Any]) -> None:
    result = await check(case["host"], case["mailfrom"], case["helo"], Zone(zonedata))
    allowed = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert result in allowed


async def test_re28_a_hostile_zone_costs_at_most_twenty_questions() -> None:
    letters = "abcdefghi"
    mechanisms = " ".join(f"mx:{letter}.evil.example" for letter in letters)
    zone = Zone(
        {
            "evil.example": [{"TXT": f"v=spf1 {mechanisms} -all"}],
            **{
                f"{letter}.evil.example": [{"MX": [10, f"m{n}.{letter}.evil.example"]} for n in range(10)]
                for letter in letters
            },
            **{f"m{n}.{letter}.evil.example": [{"A": "192.0.2.1"}] for letter in letters for n in range(10)},
        }
    )
    assert await check("192.0.2.200", "a@evil.example", "h.example", zone) in ("permerror", "temperror")
    assert len(zone.asked) <= MAX_QUERIES


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        (["TIMEOUT"], "temperror"),
        ([{"CNAME": "loop.example"}], "temperror"),
        ([{"TXT": "v=spf1 " + "a:x.example " * 6000}], "permerror"),
        ([{"TXT": "x" * 65000}], "none"),
    ],
)
async def test_re28_silence_loops_and_huge_records_end(entry: list[Any], result: str) -> None:
    zone = Zone({"loop.example": entry, "x.example": [{"A": "192.0.2.9"}]})
    assert await check("192.0.2.1", "a@loop.example", "h.example", zone) == result
