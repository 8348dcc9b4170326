"""A DNS server of our own zones on loopback: real packets over UDP and TCP, answers out of a table."""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

#: A zone's answer instead of records: silence, or an error.
SILENT, SERVFAIL = "SILENT", "SERVFAIL"


@dataclass
class Zones:
    """`records` maps "name TYPE" to texts as in a zone file, or [SILENT], [SERVFAIL]; others: NXDOMAIN."""

    records: Mapping[str, Sequence[str]]
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        zones = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, socket = self.request
                if (reply := zones.answer(data, most=1232)) is not None:
                    socket.sendto(reply, self.client_address)

        class Tcp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                (size,) = struct.unpack("!H", self.request.recv(2))
                if (reply := zones.answer(self.request.recv(size), most=65535)) is not None:
                    self.request.sendall(struct.pack("!H", len(reply)) + reply)

        self._udp = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Udp)
        self._tcp = socketserver.ThreadingTCPServer(self._udp.server_address, Tcp)
        for server in (self._udp, self._tcp):
            server.daemon_threads = True
        self.server = f"127.0.0.1:{self._udp.server_address[1]}"

    def answer(self, data: bytes, most: int) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(f"{name} {kind}")
        reply = dns.message.make_response(query)
        texts = self.records.get(f"{name} {kind}", ())
        if SILENT in texts:
            time.sleep(0.01)
            return None
        if SERVFAIL in texts:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif texts:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *texts))
        elif not any(known.startswith(f"{name} ") for known in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        wire = reply.to_wire(max_size=65535)
        if len(wire) > most:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            wire = reply.to_wire()
        return wire

    def __enter__(self) -> Self:
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
