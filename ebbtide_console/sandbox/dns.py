"""The names of the sandbox: A records out of moto's Route 53, for whoever asks at the machines' address."""

import logging
import socket
import threading
from collections.abc import Iterable
from typing import Any

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

LOG = logging.getLogger(__name__)
TTL = 60  # seconds


def answer(question: bytes, zones: Iterable[Any]) -> bytes:
    """The reply to one DNS question. Raises DNSError when it is none."""
    request = DNSRecord.parse(question)
    reply = request.reply()
    name = str(request.q.qname).lower()
    sets = [rrset for zone in zones for rrset in list(zone.rrsets) if rrset.name.lower().rstrip(".") + "." == name]
    if not sets:
        reply.header.rcode = RCODE.NXDOMAIN
    elif request.q.qtype in (QTYPE.A, QTYPE.ANY):
        for address in (record for rrset in sets if rrset.type == "A" for record in rrset.records):
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=TTL))
    packed: bytes = reply.pack()
    return packed


class NameServer:
    """Answers on one UDP socket until stopped."""

    def __init__(self, sock: socket.socket, backend: Any) -> None:
        self._socket = sock
        self._backend = backend
        self._stopped = threading.Event()

    def start(self) -> None:
        self._socket.settimeout(0.5)
        threading.Thread(target=self._serve, daemon=True, name="dns").start()

    def stop(self) -> None:
        self._stopped.set()

    def _serve(self) -> None:
        with self._socket:
            while not self._stopped.is_set():
                try:
                    question, asker = self._socket.recvfrom(4096)
                    self._socket.sendto(answer(question, list(self._backend.zones.values())), asker)
                except TimeoutError:
                    continue
                except (DNSError, OSError):
                    LOG.exception("a DNS question went unanswered")
