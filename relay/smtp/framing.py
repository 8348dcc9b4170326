"""The one reader of bytes that a client sends: pure, no I/O, the same events however the bytes are cut.

Only CRLF ends a line and only CRLF.CRLF ends DATA (RFC 5321 §2.3.8, §4.1.1.4). A bare CR, a bare LF, NUL
and an over-long line are noticed in every state, also while refused data is thrown away, because a next hop
that reads one of them as a line end would see commands where we saw text (SMTP smuggling).

    reader = Reader()
    reader.feed(b"EHLO x\\r\\nDATA\\r\\n")
    while (event := reader.next()) is not None: ...      # Line, Piece or End

`next` gives Lines until `data`, `chunk` or `skip` says what the following bytes are; then Pieces and one End,
and Lines again. Memory: what was fed and not yet asked for, plus four bytes.
"""

from __future__ import annotations

from enum import IntFlag
from io import IncrementalNewlineDecoder
from typing import NamedTuple

#: Longest command line with its CRLF; AUTH may need 12,288 octets (RFC 4954 §4), others get less.
LINE_OCTETS = 12_290
#: A line that is still going on here is no mistake but an attack.
FLOOD_OCTETS = 256 * 1024
#: Longest text line without CRLF and without the transparent dot (RFC 5321 §4.5.3.1.6).
TEXT_LINE_OCTETS = 998
_TEXT_LINE_WITH_CRLF = TEXT_LINE_OCTETS + 2
_END = b"\r\n.\r\n"
#: what a decoder saw in text whose lines end as they must
_CRLF_ONLY = (None, "\r\n")


class Fault(IntFlag):
    """What is wrong with a line or a message; several may be."""

    NONE = 0
    BARE = 1  #: CR without LF, or LF without CR
    NUL = 2
    LONG = 4  #: a line above its limit
    SIZE = 8  #: a message above its limit
    FLOOD = 16  #: a command line above FLOOD_OCTETS


#: Faults after which nobody can know where the next command starts.
FATAL = Fault.BARE | Fault.NUL | Fault.FLOOD


class Line(NamedTuple):
    """A command line without its CRLF; empty if a fault says so."""

    data: bytes
    fault: Fault = Fault.NONE


class Piece(NamedTuple):
    """Some text of a message, dots unstuffed, cut anywhere but never between CR and LF."""

    data: bytes


class End(NamedTuple):
    """The message or chunk is over; with a fault its Pieces are worth nothing."""

    fault: Fault
    size: int
    #: a line may begin with a dot; False: DATA was read, and none does
    dotted: bool = True


#: what the next bytes are
_LINE, _DATA, _CHUNK, _SKIP, _DROP = range(5)


class Reader:
    """Cuts a byte stream into Lines, Pieces and Ends."""

    __slots__ = (
        "_buffer",
        "_column",
        "_dotted",
        "_dropped",
        "_ended",
        "_ends",
        "_fault",
        "_held",
        "_last",
        "_limit",
        "_line_fault",
        "_remaining",
        "_scanned",
        "_size",
        "_start",
        "_state",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._state = _LINE
        # the line being read
        self._scanned = self._dropped = 0
        self._line_fault = Fault.NONE
        # the message being read
        self._fault = Fault.NONE
        self._size = self._limit = self._column = self._remaining = 0
        self._start = self._held = self._last = self._ended = False
        self._ends = IncrementalNewlineDecoder(None, translate=False)
        self._dotted = True

    def feed(self, data: bytes) -> int:
        """Take bytes as they came; return how many wait now."""
        if self._state != _DROP:
            self._buffer += data
        return len(self._buffer)

    @property
    def waiting(self) -> int:
        """Return how many octets were fed and not yet given out."""
        return len(self._buffer)

    def next(self) -> Line | Piece | End | None:
        """Return the next event, or None when more bytes are needed."""
        if self._state == _LINE:
            return self._line() if self._buffer else None
        if self._ended:
            return self._finish()
        if self._state == _DATA:
            return self._data()
        if self._state == _CHUNK:
            return self._chunk()
        if self._state == _SKIP:
            return self._skip()
        return None

    def begin(self, limit: int) -> None:
        """Start a new message of at most `limit` octets; DATA or several chunks follow."""
        self._limit = limit
        self._fault = Fault.NONE
        self._size = self._column = 0
        self._held = self._ended = False
        self._ends.reset()
        self._dotted = True

    def data(self, limit: int) -> None:
        """Read what follows as message text until CRLF.CRLF."""
        self.begin(limit)
        self._start = True
        self._dotted = False
        self._state = _DATA

    def chunk(self, octets: int, *, last: bool) -> None:
        """Read the next `octets` as text of the message that `begin` started (RFC 3030 §2)."""
        self._remaining, self._last = octets, last
        self._state = _CHUNK

    def skip(self, octets: int) -> None:
        """Throw the next `octets` away; End comes after them."""
        self._remaining = octets
        self._state = _SKIP

    def drop(self) -> None:
        """Forget everything, now and for ever: the connection is being closed."""
        self._state = _DROP
        self._buffer.clear()

    def take_prefix(self, octets: int) -> bytes:
        """Remove and return the first `octets`; for the PROXY header that precedes SMTP."""
        prefix = bytes(self._buffer[:octets])
        del self._buffer[:octets]
        return prefix

    def peek(self, octets: int) -> bytes:
        """Return at most the first `octets`, and leave them."""
        return bytes(self._buffer[:octets])

    # commands

    def _line(self) -> Line | None:
        buffer = self._buffer
        last = buffer.find(b"\n", self._scanned)
        if last < 0:
            self._scanned = len(buffer)
            if self._scanned <= LINE_OCTETS:
                return None
            self._shorten()
            return self._flood() if self._dropped + len(buffer) > FLOOD_OCTETS else None
        raw = bytes(buffer[: last + 1])
        del buffer[: last + 1]
        self._scanned = 0
        if raw.find(b"\r") == last - 1 and last < LINE_OCTETS and not self._dropped and b"\0" not in raw:
            return Line(raw[:-2])
        return self._bad_line(raw)

    def _bad_line(self, raw: bytes) -> Line:
        """Say what is wrong with the line that `raw` ends."""
        octets = self._dropped + len(raw)
        if octets > FLOOD_OCTETS:
            return self._flood()
        fault = self._line_fault
        if raw.find(b"\r") != len(raw) - 2:
            fault |= Fault.BARE
        if b"\0" in raw:
            fault |= Fault.NUL
        if octets > LINE_OCTETS:
            fault |= Fault.LONG
        self._dropped = 0
        self._line_fault = Fault.NONE
        return Line(b"", fault)

    def _flood(self) -> Line:
        self.drop()
        return Line(b"", Fault.LONG | Fault.FLOOD)

    def _shorten(self) -> None:
        """Keep only what may be half a CRLF of a line that is too long anyway."""
        keep = 1 if self._buffer.endswith(b"\r") else 0
        part = self._buffer[: len(self._buffer) - keep]
        if b"\r" in part:
            self._line_fault |= Fault.BARE
        if b"\0" in part:
            self._line_fault |= Fault.NUL
        self._dropped += len(part)
        del self._buffer[: len(part)]
        self._scanned = keep

    # messages

    def _data(self) -> Piece | End | None:
        buffer = self._buffer
        if self._start and not self._first_line():
            return self._finish() if self._ended else None
        dot = buffer.find(b"\r\n.")
        end = buffer.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            raw = _first(buffer, end + 2)
            del buffer[: end + 5]
            self._ended = True
        else:
            take = len(buffer) - _half_end(buffer)
            if take <= 0:
                return None
            raw = _first(buffer, take)
            del buffer[:take]
        # the first dotted line is the end itself in nearly every message: nothing to unstuff
        if 0 <= dot < len(raw) - 2:
            raw = raw.replace(b"\r\n.", b"\r\n")
            self._dotted = True
        return self._text(raw)

    def _first_line(self) -> bool:
        """Look at the octets right after DATA, which count as following a CRLF; False: wait, or it ended."""
        buffer = self._buffer
        if buffer.startswith(b".\r\n"):
            del buffer[:3]
            self._ended = True
            return False
        if len(buffer) < 3 and b".\r\n".startswith(buffer):
            return False
        if buffer.startswith(b"."):
            del buffer[:1]
            self._dotted = True
        self._start = False
        return True

    def _chunk(self) -> Piece | End | None:
        take = min(self._remaining, len(self._buffer))
        if not take and self._remaining:
            return None
        raw = b"\r" * self._held + bytes(self._buffer[:take])
        del self._buffer[:take]
        self._remaining -= take
        self._held = False
        if not self._remaining:
            self._ended = True
            if self._last:
                return self._text(raw + self._missing_end(raw))
        if raw.endswith(b"\r"):
            # the LF may come with the next octets, even with the next chunk
            self._held = True
            raw = raw[:-1]
        return self._text(raw)

    def _missing_end(self, raw: bytes) -> bytes:
        """Return the CRLF that a message needs before it can be sent on with DATA (RFC 3030 §2)."""
        whole = raw.endswith(b"\r\n") or not (raw or self._column)
        return b"" if whole else b"\r\n"

    def _skip(self) -> End | None:
        take = min(self._remaining, len(self._buffer))
        del self._buffer[:take]
        self._remaining -= take
        if self._remaining:
            return None
        self._state = _LINE
        return End(Fault.NONE, 0)

    def _finish(self) -> End:
        self._state = _LINE
        self._ended = False
        return End(self._fault, self._size, self._dotted)

    def _text(self, piece: bytes) -> Piece | End | None:
        """Judge unstuffed text; give it out only while the message is faultless."""
        if not piece:
            return self._finish() if self._ended else None
        self._size += len(piece)
        if self._size > self._limit:
            self._fault |= Fault.SIZE
        # one pass that keeps which line ends it saw; counting CR, LF and CRLF takes five times as long
        self._ends.decode(piece.decode("latin-1"), final=True)
        if self._ends.newlines not in _CRLF_ONLY:
            self._fault |= Fault.BARE
        if b"\0" in piece:
            self._fault |= Fault.NUL
        if self._too_long(piece):
            self._fault |= Fault.LONG
        if self._fault:
            return self._finish() if self._ended else None
        return Piece(piece)

    def _too_long(self, piece: bytes) -> bool:
        """Tell whether a line of `piece` passes the limit, in jumps of nearly a whole limit each."""
        first = piece.find(b"\r\n")
        if first < 0:
            self._column += len(piece)
            return self._column > TEXT_LINE_OCTETS
        long = self._column + first > TEXT_LINE_OCTETS
        start, size = first + 2, len(piece)
        while size - start > _TEXT_LINE_WITH_CRLF:
            last = piece.rfind(b"\r\n", start, start + _TEXT_LINE_WITH_CRLF)
            if last < 0:
                long = True
                break
            start = last + 2
        self._column = size - piece.rfind(b"\r\n") - 2
        return long or self._column > TEXT_LINE_OCTETS


def _first(buffer: bytearray, octets: int) -> bytes:
    """Return the first octets, copied once: a slice of a bytearray would be another copy."""
    return bytes(memoryview(buffer)[:octets])


def _half_end(buffer: bytearray) -> int:
    """Return how many octets at the end of `buffer` may be the start of CRLF.CRLF."""
    for octets in (4, 3, 2, 1):
        if buffer.endswith(_END[:octets]):
            return octets
    return 0
