"""Countries of clients, from a database of one network that is written here."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest

from relay import building
from relay.config import Config
from relay.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def encoded(value: Any) -> bytes:
    """Return a value in the form of MMDB's data section; small ones alone."""
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    if isinstance(value, bytes):  # an unsigned number of that width; 64 bits are an extended type
        kind = {2: [5 << 5 | 2], 4: [6 << 5 | 4], 8: [8, 9 - 7]}[len(value)]
        return bytes(kind) + value
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(encoded, value))
    return bytes([7 << 5 | len(value)]) + b"".join(encoded(one) for pair in value.items() for one in pair)


def database(network: str, found: Any) -> bytes:
    """Return a database that knows one IPv4 network."""
    net = ipaddress.ip_network(network)
    count, tree = net.prefixlen, b""
    for place in range(count):
        bit = int(net.network_address) >> (31 - place) & 1
        following = place + 1 if place + 1 < count else count + 16
        records = (count, following) if bit else (following, count)
        tree += b"".join(record.to_bytes(3, "big") for record in records)
    facts = {
        "node_count": count.to_bytes(4, "big"), "record_size": b"\x00\x18", "ip_version": b"\x00\x04",
        "binary_format_major_version": b"\x00\x02", "binary_format_minor_version": b"\x00\x00",
        "build_epoch": bytes(7) + b"\x01", "database_type": "test", "languages": ["en"],
        "description": {"en": "test"},
    }  # fmt: skip
    return tree + bytes(16) + encoded(found) + b"\xab\xcd\xefMaxMind.com" + encoded(facts)


def configured(folder: Path) -> Config:
    return Config.model_validate({"policy": {"countries": "countries.mmdb"}, "folder": folder})


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"country": {"iso_code": "DE"}}, "DE"),
        ({"country": {"iso_code": b"\x00\x01"}}, ""),
        ({"continent": {"code": "EU"}}, ""),
        ("DE", ""),
    ],
)
def test_a_clients_country_comes_from_the_file(tmp_path: Path, found: Any, code: str) -> None:
    (tmp_path / "countries.mmdb").write_bytes(database("192.0.2.0/24", found))
    country = building.countries(configured(tmp_path))
    assert country("192.0.2.77") == code
    assert [country(one) for one in ("198.51.100.1", "::1", "", "nonsense")] == ["", "", "", ""]


def test_a_file_that_is_none_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    for content in (None, b"nonsense"):
        if content:
            (tmp_path / "countries.mmdb").write_bytes(content)
        with pytest.raises(ConfigError) as fault:
            building.countries(configured(tmp_path))
        assert fault.value.faults[0].path == "policy.countries"
    assert building.countries(Config())("192.0.2.77") == ""
