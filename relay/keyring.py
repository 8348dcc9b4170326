"""The master keys and everything derived from them; the file lives outside the database."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_BYTES = 32
HASH_BYTES = 16
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Key:
    """One master key; `id` (0..255) travels with what it sealed."""

    id: int
    secret: bytes = field(repr=False)


class Keyring:
    """Seals with the newest key, opens with any, hashes with the oldest (hashes must stay comparable)."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.id: key for key in keys}
        self._derived: dict[tuple[int, str], bytes] = {}
        self._hash_keys: dict[int, bytes] = {}
        self._ciphers: dict[tuple[int, str], AESGCM] = {}
        self._pseudonyms: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read a ring of lines `ID HEXKEY`, oldest first; ConfigError if it cannot be used."""
        return cls(_read(path).values())

    @classmethod
    def create(cls, path: Path) -> Keyring:
        """Write a new ring with one random key, readable by its owner only."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"1 {secrets.token_hex(KEY_BYTES)}\n")
        return cls.load(path)

    def rotate(self, path: Path) -> int:
        """Add a random key to the ring and its file, which is the old or the new one whatever happens.

        Returns the new key's id. From now on this ring seals with it; what is sealed stays readable.
        """
        number = max(self._keys) + 1
        if number > 255:
            raise ConfigError([Fault("keys.master", str(path), "256 keys are all that there can be")])
        lines = [f"{key.id} {key.secret.hex()}\n" for key in self._keys.values()]
        temporary = path.with_name(f".{path.name}.new")
        try:
            temporary.unlink(missing_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path.stat().st_mode & 0o777)
            with os.fdopen(handle, "w") as file:
                file.write("".join([*lines, f"{number} {secrets.token_hex(KEY_BYTES)}\n"]))
                file.flush()
                owner = path.stat()
                os.fchown(handle, owner.st_uid, owner.st_gid)
                os.fsync(handle)
            temporary.rename(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(folder)  # nothing is sealed with a key that a power cut could take away
            os.close(folder)
        except OSError as error:
            raise ConfigError(
                [Fault("keys.master", str(path), f"cannot be written: {error.strerror}")]
            ) from error
        self.renew(path)
        return number

    def renew(self, path: Path) -> None:
        """Take up keys that were added to the file; ConfigError, and no change, if one is lost or altered."""
        known = _read(path)
        if any(known.get(number) != key for number, key in self._keys.items()):
            raise ConfigError([Fault("keys.master", str(path), "a key that is in use is missing or another")])
        self._keys = known

    @property
    def newest(self) -> int:
        """Return the id of the key that seals."""
        return next(reversed(self._keys))

    @property
    def ids(self) -> tuple[int, ...]:
        """Return the ids of all keys, oldest first."""
        return tuple(self._keys)

    def derive(self, purpose: str, key_id: int | None = None) -> bytes:
        """Return 32 bytes for one purpose (HKDF-SHA256, RFC 5869); KeyError for an unknown key id."""
        number = self.newest if key_id is None else key_id
        if (number, purpose) not in self._derived:
            hkdf = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"gatepost " + purpose.encode())
            self._derived[number, purpose] = hkdf.derive(self._keys[number].secret)
        return self._derived[number, purpose]

    def _cipher(self, number: int, purpose: str) -> AESGCM:
        if (number, purpose) not in self._ciphers:
            self._ciphers[number, purpose] = AESGCM(self.derive(purpose, number))
        return self._ciphers[number, purpose]

    def seal(self, purpose: str, plain: bytes, context: bytes = b"") -> bytes:
        """Encrypt with AES-256-GCM; `context` (a row id, say) must be given again to open."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        number = self.newest
        return bytes([number]) + nonce + self._cipher(number, purpose).encrypt(nonce, plain, context)

    def open(self, purpose: str, sealed: bytes, context: bytes = b"") -> bytes:
        """Decrypt what `seal` made; cryptography's InvalidTag or KeyError if it was not ours."""
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        return self._cipher(sealed[0], purpose).decrypt(nonce, body, context)

    def _customer_mac(self, customer_id: int, value: str) -> bytes:
        if customer_id not in self._hash_keys:
            self._hash_keys[customer_id] = self.derive(
                f"recipients of customer {customer_id}", min(self._keys)
            )
        return _known_mac(self._hash_keys[customer_id], value)

    def recipient_hash(self, customer_id: int, address: str) -> bytes:
        """Return the 16-byte keyed hash of an address; domain and local part compare without case."""
        return self._customer_mac(customer_id, address.lower())

    def domain_hash(self, customer_id: int, domain: str) -> bytes:
        """Return the 16-byte keyed hash of a recipient domain; never equals an address's."""
        return self._customer_mac(customer_id, "@" + domain.lower().rstrip("."))

    def fingerprint(self, login: str, password: str) -> bytes:
        """Return the keyed hash that recognises a blocked password again."""
        key = self.derive("credential fingerprints", min(self._keys))
        return _mac(
            key,
            login.lower().encode("utf-8", "surrogateescape")
            + b"\0"
            + password.encode("utf-8", "surrogateescape"),
        )

    def pseudonym(self, what: str) -> str:
        """Return 8 hexadecimal digits that stand for a thing in public, the same for ever."""
        if what not in self._pseudonyms:
            mac = _mac(self.derive("pseudonyms", min(self._keys)), what.encode())
            self._pseudonyms[what] = mac[:4].hex()
        return self._pseudonyms[what]


def _read(path: Path) -> dict[int, Key]:
    allowed = "a file of lines `ID HEXKEY` (64 hex digits), as `gatepost init` writes it"
    try:
        lines = [line.split() for line in path.read_text("ascii").splitlines() if line.strip()]
        keys = [Key(int(number), bytes.fromhex(secret)) for number, secret in lines]
    except OSError as error:
        raise ConfigError([Fault("keys.master", str(path), f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError([Fault("keys.master", str(path), allowed)]) from error
    if not keys or any(len(key.secret) != KEY_BYTES or not 0 <= key.id <= 255 for key in keys):
        raise ConfigError([Fault("keys.master", str(path), allowed)])
    return {key.id: key for key in keys}


def _mac(key: bytes, value: bytes) -> bytes:
    """Return the keyed hash (BLAKE2b, RFC 7693 §2.9): in a fifth of the time that HMAC takes."""
    return blake2b(value, key=key, digest_size=HASH_BYTES).digest()


@lru_cache(maxsize=4096)
def _known_mac(key: bytes, value: str) -> bytes:
    """Return the keyed hash of what a message asks for several times: a recipient, a domain."""
    return _mac(key, value.encode("utf-8", "surrogateescape"))
