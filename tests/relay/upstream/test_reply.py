from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.upstream.reply import Garbled, Parser, UpstreamReply


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"250 2.1.0 Ok\r\n", UpstreamReply(250, "2.1.0", "Ok")),
        (b"250\r\n", UpstreamReply(250, "", "")),
        (b"250 \r\n", UpstreamReply(250, "", "")),
        (b"450 Ok\n", UpstreamReply(450, "", "Ok")),
        (b"450 5.7.1 liar\r\n", UpstreamReply(450, "", "liar")),
        (b"550-5.1.1 No\r\n550-5.1.1 such\r\n550 user\r\n", UpstreamReply(550, "5.1.1", "No such user")),
        (b"550 a\x1b[31m\0b\x80\xffc\r\n", UpstreamReply(550, "", "a?[31m?b?c")),
        (b"550 a\rb\r\n", UpstreamReply(550, "", "a?b")),
        (b"550 " + b"x" * 3000 + b"\r\n", UpstreamReply(550, "", "x" * 400)),
    ],
)
def test_a_reply_is_read_and_made_safe(raw: bytes, reply: UpstreamReply) -> None:
    assert Parser().feed(raw) == [reply]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"100 go on\r\n",
        b"25\r\n",
        b"2500 x\r\n",
        b"\r\n",
        b"\xb2\xb2\xb2 x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\n" * 129,
        b"250 " + b"x" * 5000,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\n",
    ],
)
def test_what_is_no_reply_is_garbled(raw: bytes) -> None:
    with pytest.raises(Garbled):
        Parser().feed(raw)


REPLIES = st.lists(
    st.builds(
        lambda code, lines, end: b"".join(
            b"%d%s%s%s" % (code, b" " if n == len(lines) - 1 else b"-", line, end)
            for n, line in enumerate(lines)
        ),
        st.integers(200, 599),
        st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), min_size=1, max_size=3),
        st.sampled_from([b"\r\n", b"\n"]),
    ),
    max_size=4,
).map(b"".join)


@given(REPLIES, st.lists(st.integers(0, 200), max_size=6))
def test_cut_anywhere_it_gives_the_same_replies(raw: bytes, cuts: list[int]) -> None:
    whole = Parser().feed(raw)
    parser = Parser()
    replies = []
    places = [0, *sorted(cut for cut in cuts if cut <= len(raw)), len(raw)]
    for start, end in itertools.pairwise(places):
        replies += parser.feed(raw[start:end])
    assert replies == whole
    assert not parser.pending
    assert all(
        reply.text.isascii() and reply.text.isprintable() and len(reply.text) <= 400 for reply in replies
    )


@given(st.binary(max_size=300))
def test_any_bytes_give_replies_or_garbled(raw: bytes) -> None:
    parser = Parser()
    try:
        for byte in raw:
            parser.feed(bytes([byte]))
    except Garbled:
        pass
