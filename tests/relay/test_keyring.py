from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidTag

from relay.errors import ConfigError
from relay.keyring import Key, Keyring

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = Key(1, b"1" * 32), Key(2, b"2" * 32)


def test_a_new_ring_is_its_owners_alone_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "master.keys"
    made = Keyring.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.load(path).derive("x") == made.derive("x")


def test_what_an_old_key_sealed_opens_after_rotation() -> None:
    sealed = Keyring([OLD]).seal("spool", b"body", b"row 1")
    assert Keyring([OLD, NEW]).open("spool", sealed, b"row 1") == b"body"
    assert Keyring([OLD, NEW]).seal("spool", b"body")[0] == NEW.id


@pytest.mark.parametrize(("purpose", "context"), [("other", b"row 1"), ("spool", b"row 2")])
def test_another_purpose_or_row_does_not_open(purpose: str, context: bytes) -> None:
    ring = Keyring([OLD])
    with pytest.raises(InvalidTag):
        ring.open(purpose, ring.seal("spool", b"body", b"row 1"), context)


def test_hashes_stay_comparable_after_rotation_and_differ_by_customer() -> None:
    before, after = Keyring([OLD]), Keyring([OLD, NEW])
    assert before.recipient_hash(1, "Bob@There.Example") == after.recipient_hash(1, "bob@there.example")
    assert before.recipient_hash(1, "a@b.example") != before.recipient_hash(2, "a@b.example")
    assert before.domain_hash(1, "b.example.") == before.domain_hash(1, "B.example")
    assert before.domain_hash(1, "b.example") != before.recipient_hash(1, "b.example")
    assert before.fingerprint("A@b", "p") == after.fingerprint("a@b", "p")
    assert before.fingerprint("a", "bc") != before.fingerprint("ab", "c")


def test_a_rotated_ring_seals_with_its_new_key_and_others_take_it_up(tmp_path: Path) -> None:
    path = tmp_path / "master.keys"
    ring, other = Keyring.create(path), Keyring.load(path)
    old = ring.seal("spool", b"old")
    hashed = ring.recipient_hash(1, "a@b.example")
    assert ring.rotate(path) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.keys"]
    new = ring.seal("spool", b"new")
    assert (ring.newest, ring.ids, new[0]) == (2, (1, 2), 2)
    with pytest.raises(KeyError):
        other.open("spool", new)
    other.renew(path)
    assert (other.open("spool", new), other.open("spool", old)) == (b"new", b"old")
    assert other.recipient_hash(1, "a@b.example") == hashed


def test_a_key_that_is_in_use_is_never_lost(tmp_path: Path) -> None:
    path = tmp_path / "master.keys"
    ring = Keyring.create(path)
    whole = path.read_text()
    for text in ("2 " + "0" * 64 + "\n", "1 " + "0" * 64 + "\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="in use"):
            ring.renew(path)
    path.write_text(whole)
    assert ring.ids == (1,)
    with pytest.raises(ConfigError, match="cannot be"):
        ring.rotate(tmp_path / "no" / "master.keys")
    full = Keyring([Key(number, b"k" * 32) for number in range(256)])
    with pytest.raises(ConfigError, match="256 keys"):
        full.rotate(path)


@pytest.mark.parametrize("text", ["", "1", "1 zz", "1 00", "x " + "0" * 64, "256 " + "0" * 64])
def test_a_broken_ring_is_a_fault_of_the_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.keys"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"keys\.master"):
        Keyring.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Keyring.load(tmp_path / "none")


def test_a_login_of_any_octets_has_a_fingerprint() -> None:
    ring = Keyring([OLD])
    assert ring.fingerprint("caf\udce9@b.example", "pw") != ring.fingerprint("cafe@b.example", "pw")


def test_secrets_do_not_show() -> None:
    assert "1111" not in repr(OLD)
