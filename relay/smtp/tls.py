"""The certificate of the doors, reloaded while the server runs; a bad pair never replaces a good one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from relay.clock import monotonic
from relay.errors import ConfigError, Fault
from relay.smtp.memory import RECORD_OCTETS

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_AGAIN_SECONDS = 1.0


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server context for a PEM pair, TLS 1.2 and newer; ConfigError if the pair cannot be used."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.sslobject_class = Records
    made.num_tickets = 1  # a mail client opens one session at a time
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        made.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        what = (
            "is not the key of tls.certificate"
            if "MISMATCH" in str(error)
            else "is not a usable PEM pair with tls.key"
        )
        path, given = ("tls.key", key) if "MISMATCH" in str(error) else ("tls.certificate", certificate)
        raise ConfigError([Fault(path, str(given), what)]) from error
    except OSError as error:
        missing = error.filename or certificate
        raise ConfigError(
            [Fault("tls.certificate", str(missing), f"cannot be read: {error.strerror}")]
        ) from error
    return made


class Records(ssl.SSLObject):
    """TLS that is read one record at a time, which is all that a read ever gives.

    The loop asks for 256 KiB: a block of that size is mapped, cut to what came, and unmapped with every read.
    """

    def read(self, len: int = RECORD_OCTETS, buffer: Any = None) -> Any:  # noqa: A002 - the library's
        """Read at most a record."""
        if buffer is not None:
            return super().read(len, buffer)
        return self._sslobj.read(min(len, RECORD_OCTETS))  # type: ignore[attr-defined]


class Certificate:
    """Holds the context of the newest good pair; new handshakes get it, open sessions keep theirs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._seen = self._stamp()
        self._context = context(certificate, key)
        self._look_at = 0.0
        #: why the newest files were not taken; empty when they were
        self.fault = ""

    def current(self) -> ssl.SSLContext:
        """Return the context to shake hands with; looks at the files once a second at most."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_SECONDS
            if self._stamp() != self._seen:
                self.reload()
        return self._context

    def look_again(self) -> None:
        """Look at the files with the next handshake, whenever the last look was."""
        self._look_at = 0.0

    def reload(self) -> bool:
        """Read the files again; False and `fault` if they cannot be used, then the old pair stays.

        A fresh context takes its place as a whole: loading into a live one would leave an old pair of
        another key type beside the new.
        """
        seen = self._stamp()
        try:
            self._context = context(*self._files)
        except ConfigError as error:
            self.fault = str(error)
            return False
        finally:
            self._seen = seen
        self.fault = ""
        return True

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
