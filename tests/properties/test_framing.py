"""The reader gives the same events however the bytes are cut, and agrees with a plain reading of the RFC."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.smtp import framing
from relay.smtp.framing import FATAL, End, Fault, Line, Piece, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 60

#: what attackers and clients put together
_ATOMS = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"..", b"\0", b"\r\n.\r\n", b"\r\n.", b"DATA\r\n", b"x", b"BDAT 3\r\n",
     b"BDAT 4 LAST\r\n", b"SKIP 5\r\n", b"\x85", b"y" * 30, b"z" * 998, b"NOOP\r\n", b"BDAT 0 LAST\r\n"]
)  # fmt: skip
_STREAMS = st.lists(_ATOMS, max_size=25).map(b"".join)
_CUTS = st.lists(st.integers(0, 400), max_size=12)


def read(parts: Iterable[bytes]) -> list[Line | End | bytes]:
    """Drive a reader as a server would: DATA, BDAT and SKIP switch it; Pieces are joined."""
    reader = Reader()
    events: list[Line | End | bytes] = []
    text = bytearray()
    for part in parts:
        reader.feed(part)
        while (event := reader.next()) is not None:
            if isinstance(event, Piece):
                text += event.data
                continue
            if isinstance(event, End):
                if not event.fault:
                    events.append(bytes(text))
                text.clear()
            events.append(event)
            if isinstance(event, Line):
                _switch(reader, event.data)
    return events


def _switch(reader: Reader, line: bytes) -> None:
    words = line.split(b" ")
    if words == [b"DATA"]:
        reader.data(LIMIT)
    elif words[0] == b"BDAT":
        if len(words) == 2:
            reader.begin(LIMIT)
        reader.chunk(int(words[1]), last=len(words) == 3)
    elif words[0] == b"SKIP":
        reader.skip(int(words[1]))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(_STREAMS, _CUTS)
@settings(max_examples=400, deadline=None)
@example(b"DATA\r\nx\r\n.\r\nNOOP\r\n", [8, 9, 10, 11])
@example(b"DATA\r\n..\r\n.\r\n", [7])
def test_cuts_change_nothing(stream: bytes, places: list[int]) -> None:
    assert read(cut(stream, places)) == read([stream])


@given(_STREAMS)
@settings(max_examples=200, deadline=None)
def test_byte_by_byte_changes_nothing(stream: bytes) -> None:
    assert read(stream[i : i + 1] for i in range(len(stream))) == read([stream])


_TEXT = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b".", b"a", b"b" * 20, b"\0", b"\r\n.", b"c" * 997, b"d" * 998, b"e" * 999]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


def plainly(stream: bytes, limit: int) -> tuple[bytes, Fault, bytes] | None:
    """Read DATA as RFC 5321 §4.5.2 says it, without any thought of speed."""
    end = (b"\r\n" + stream).find(b"\r\n.\r\n")
    if end < 0:
        return None
    lines = (b"\r\n" + stream)[2 : end + 2].split(b"\r\n")[:-1] if end else []
    rest = stream[end + 3 :]
    lines = [line.removeprefix(b".") for line in lines]
    text = b"".join(line + b"\r\n" for line in lines)
    fault = Fault.NONE
    if re.search(rb"[\r\n]", b"".join(lines)):
        fault |= Fault.BARE
    if b"\0" in text:
        fault |= Fault.NUL
    if any(len(line) > framing.TEXT_LINE_OCTETS for line in lines):
        fault |= Fault.LONG
    if len(text) > limit:
        fault |= Fault.SIZE
    return text, fault, rest


@given(_TEXT, st.sampled_from([50, 2000, 10**6]))
@settings(max_examples=500, deadline=None)
@example(b"", 50)
@example(b".\r", 50)
def test_data_is_read_as_the_rfc_says(text: bytes, limit: int) -> None:
    stream = text + b"\r\n.\r\nQUIT\r\n"
    reader = Reader()
    reader.data(limit)
    reader.feed(stream)
    got = bytearray()
    while not isinstance(event := reader.next(), End):
        assert isinstance(event, Piece)
        got += event.data
    expected = plainly(stream, limit)
    assert expected is not None
    whole, fault, rest = expected
    assert (event.fault, reader.peek(10**6)) == (fault, rest)
    assert fault or (bytes(got) == whole and event.size == len(whole))


@given(st.binary(max_size=300), st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=200, deadline=None)
def test_chunks_give_back_what_came(body: bytes, sizes: list[int]) -> None:
    """Chunks of any sizes give the octets of the body, or the faults that DATA would find in it."""
    body = b"\r\n".join(line.translate(None, b"\r\n\0") for line in body.split(b"\n"))
    reader = Reader()
    reader.begin(10**6)
    got, left = bytearray(), body
    for size in [*sizes, len(body)]:
        part, left = left[:size], left[size:]
        last = not left and size == len(body)
        reader.chunk(len(part), last=last)
        reader.feed(part)
        while not isinstance(event := reader.next(), End):
            assert isinstance(event, Piece)
            got += event.data
        assert not event.fault
    whole = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
    assert bytes(got) == whole


def test_commands_end_with_crlf_only() -> None:
    cases = [
        (b"NOOP\r\n", [Line(b"NOOP")]),
        (b"NOOP\n", [Line(b"", Fault.BARE)]),
        (b"A\rB\r\n", [Line(b"", Fault.BARE)]),
        (b"A\0B\r\n", [Line(b"", Fault.NUL)]),
        (b"A\r\r\n", [Line(b"", Fault.BARE)]),
        (b"\r\n", [Line(b"")]),
        (b"x" * (framing.LINE_OCTETS - 2) + b"\r\n", [Line(b"x" * (framing.LINE_OCTETS - 2))]),
        (b"x" * (framing.LINE_OCTETS - 1) + b"\r\nNOOP\r\n", [Line(b"", Fault.LONG), Line(b"NOOP")]),
    ]
    for stream, expected in cases:
        assert read([stream]) == expected, stream[:20]


def test_an_endless_line_ends_the_reading() -> None:
    reader = Reader()
    found = []
    for _ in range(200):
        reader.feed(b"x" * 4096)
        assert reader.waiting <= framing.LINE_OCTETS + 4096
        if (event := reader.next()) is not None:
            found.append(event)
    assert found == [Line(b"", Fault.LONG | Fault.FLOOD)]
    assert Fault.FLOOD & FATAL


def test_a_refused_message_keeps_nothing_in_memory() -> None:
    reader = Reader()
    reader.data(1000)
    for _ in range(100):
        reader.feed(b"x" * 65536)
        assert reader.next() is None
        assert reader.waiting <= 4
    reader.feed(b"\r\n.\r\n")
    assert reader.next() == End(Fault.LONG | Fault.SIZE, 6553602, dotted=False)


def test_every_end_of_data_but_the_right_one_is_text() -> None:
    """FR-01 to FR-13: each stays inside the message, and is a fault if it has a bare CR, LF or NUL."""
    wrong = [
        b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\r.\r", b"\n.\r", b"\r.\n",
        b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
    ]  # fmt: skip
    for sequence in wrong:
        reader = Reader()
        reader.data(10**6)
        reader.feed(b"lead" + sequence + b"MAIL FROM:<a@b.example>\r\n")
        assert not any(isinstance(event, End) for event in iter(reader.next, None)), sequence
        reader.feed(b"\r\n.\r\n")
        events = list(iter(reader.next, None))
        assert isinstance(events[-1], End)
        assert events[-1].fault & FATAL, sequence
    for separator in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85", b"\xe2\x80\xa8"):
        reader = Reader()
        reader.data(10**6)
        reader.feed(b"lead" + separator + b"." + separator + b"more\r\n.\r\n")
        assert b"".join(event.data for event in iter(reader.next, None) if isinstance(event, Piece)) == (
            b"lead" + separator + b"." + separator + b"more\r\n"
        )
