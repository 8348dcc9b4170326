"""The public suites of SPF (RFC 7208), DKIM and ARC (RFC 8617); skipped where ../shared/data is not here."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization

from relay.clock import moment
from relay.signing import arc, public, verify
from relay.signing.arc import Chain
from relay.signing.dkim import PADDING, PREHASHED
from relay.signing.verify import KeyUnknown, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.signing.public import KeyRecord

AUTH = Path(__file__).resolve().parents[4] / "shared/data/auth"
pytestmark = pytest.mark.skipif(
    not AUTH.is_dir(), reason="no suites beside the project (../shared/data/auth)"
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def documents(name: str) -> list[dict[str, Any]]:
    yaml: Any = pytest.importorskip("yaml")
    return list(yaml.safe_load_all((AUTH / name).read_text(encoding="utf-8")))


def keys_of(records: Mapping[str, str]) -> verify.Keys:
    def keys(selector: str, domain: str) -> Iterable[KeyRecord]:
        text = records.get(f"{selector}._domainkey.{domain}", "")
        if text == "TEMPERROR":
            raise KeyUnknown("temporary")
        return [found for one in text.split("\n\n") if (found := public.read_record(one)) is not None]

    return keys


# --- DKIM

DKIM = sorted({path.name.partition(".")[0] for path in (AUTH / "dkim").glob("*.*")})
#: Files that cases share came without their content; these hold the same.
_VECTOR = "05-dns_temp_error.msg"  # the message of RFC 8463 §A.3
_KEYS = ("10-strict_domain_check_pass.dns", "11-strict_domain_check_fail.dns")
#: What the suite calls the ends of a signature, and what we call them.
_STATES = {
    "SUCCESS": {State.PASS},
    "TEMPFAIL": {State.TEMPERROR},
    "PERMFAIL": {State.FAIL, State.PERMERROR},
}


def read(case: str, ending: str) -> str:
    path = AUTH / "dkim" / f"{case}.{ending}"
    text = path.read_text() if path.exists() else ""
    return "" if text == path.name else text


def dkim_zone(case: str) -> dict[str, str]:
    text = read(case, "dns")
    if not text:
        text = "\n".join((AUTH / "dkim" / name).read_text() for name in _KEYS).replace("t=s;", "")
    zone: dict[str, str] = {}
    for line in re.sub(r"\\\s*\n\s*", "", text).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            zone[name] = f"{zone[name]}\n\n{value.strip()}" if name in zone else value.strip()
    return zone


@pytest.mark.parametrize("case", DKIM)
def test_dkim(case: str) -> None:
    text = read(case, "msg") or (AUTH / "dkim" / _VECTOR).read_text()
    found = verify.examine(text.encode(), keys_of(dkim_zone(case)), NOW)
    if case.startswith("03"):
        assert found == [], "what is no message has no signatures"
        return
    told = read(case, "result")
    states = [one["State"] for one in json.loads(told)["Results"]] if told else ["SUCCESS", "SUCCESS"]
    assert [one.state in _STATES[state] for one, state in zip(found, states, strict=False)] == [True] * len(
        states
    )
    assert len(found) == len(states) or case.startswith("02"), "we look at eight, the suite's maker at five"
    assert any(one.partial for one in found) is case.startswith("09"), "l= is seen, for callers to refuse"


# --- ARC


def arc_cases(name: str) -> list[Any]:
    if not AUTH.is_dir():
        return []
    return [
        pytest.param(case, document, id=f"{document['description'].split()[0]}-{title}")
        for document in documents(name)
        for title, case in document["tests"].items()
    ]


def raw_of(case: Mapping[str, Any]) -> bytes:
    return str(case["message"] or "").replace("\n", "\r\n").encode()


def arc_keys(document: Mapping[str, Any]) -> verify.Keys:
    return keys_of({name: str(text).replace("\n", " ") for name, text in document["txt-records"].items()})


@pytest.mark.parametrize(("case", "document"), arc_cases("arc/arc-draft-validation-tests.yml"))
def test_arc_chains(case: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    expected = str(case["cv"] or "fail").lower()  # empty: the chain itself says that it failed before
    assert arc.validate(raw_of(case), arc_keys(document)) is Chain(expected)


@pytest.mark.parametrize(("case", "document"), arc_cases("arc/arc-draft-sign-tests.yml"))
def test_arc_seals(case: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    raw, server = raw_of(case), case["srv-id"]
    results = "; ".join(own_results(raw.decode(), server))
    signer = Rsa1024(document["domain"], document["sel"], document["privatekey"])
    covers = [name.encode() for name in case["sig-headers"].split(":")]
    chain = arc.validate(raw, arc_keys(document))
    made = arc.Sealer(signer, server).seal(raw, results, chain, covers, moment(int(case["t"]) * 1_000_000))
    found = {name.decode(): value.decode() for name, _, value in (field.partition(b":") for field in made)}
    names = {"AS": "ARC-Seal", "AMS": "ARC-Message-Signature", "AAR": "ARC-Authentication-Results"}
    for short, name in names.items():
        assert tags_of(found.get(name, "")) == tags_of(str(case[short]))


def tags_of(value: str) -> list[str]:
    return sorted("".join(tag.split()) for tag in value.split(";") if tag.strip())


def own_results(raw: str, server: str) -> Iterable[str]:
    """Yield what the fields of one authserv-id report, merged in order."""
    head = re.sub(r"\r\n[ \t]+", " ", raw.partition("\r\n\r\n")[0])
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        identity, *found = (part.strip() for part in value.split(";"))
        if name.lower() == "authentication-results" and identity == server:
            yield from filter(None, found)


class Rsa1024:
    """A signer with the suite's key, smaller than we would take."""

    def __init__(self, domain: str, selector: str, pem: str) -> None:
        self.domain, self.selector = domain, selector
        self._key: Any = serialization.load_pem_private_key(pem.encode(), None)

    def sign_digest(self, digest: bytes) -> bytes:
        signature: bytes = self._key.sign(digest, PADDING, PREHASHED)
        return signature
