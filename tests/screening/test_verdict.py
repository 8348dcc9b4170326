"""What of a verdict is kept."""

from __future__ import annotations

import pytest

from screening.verdict import Hit, Verdict

PEOPLE = ("bob@partner.example", "c+d@partner.example")


@pytest.mark.parametrize(
    ("quoted", "kept"),
    [
        ("Bob@Partner.example, your parcel", "<recipient>, your parcel"),
        ("https://a.example/?to=bob%40partner.example", "https://a.example/?to=<recipient>"),
        ("c+d@partner.example and bob@partner.example", "<recipient> and <recipient>"),
        ("PayPal <x@evil.example>", "PayPal <x@evil.example>"),
        ("partner.example", "partner.example"),
    ],
)
def test_what_a_rule_quotes_names_no_recipient_where_it_is_kept(quoted: str, kept: str) -> None:
    verdict = Verdict((Hit("a_rule", 1.0, quoted),))
    assert [hit["evidence"] for hit in verdict.as_json(PEOPLE)] == [kept]
    assert [hit["evidence"] for hit in verdict.as_json()] == [quoted]
