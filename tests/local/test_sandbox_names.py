"""Names in the sandbox: Route 53 over the wire, DNS on the machines' address."""

import socket
from pathlib import Path
from typing import Any

from dnslib import QTYPE, RCODE, DNSRecord

from ebbtide_console.sandbox.server import Sandbox
from tests.local.sandbox_parts import WAIT, a_sandbox, client


def point(route53: Any, zone: str, name: str, address: str) -> None:
    record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": address}]}
    route53.change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    )


def ask(sandbox: Sandbox, name: str, kind: str = "A") -> DNSRecord:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(WAIT)
        asking.sendto(DNSRecord.question(name, kind).pack(), sandbox.substrate.names.getsockname())
        return DNSRecord.parse(asking.recv(4096))


def test_a_name_follows_its_record(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        route53 = client("route53", sandbox.endpoint)
        zone = route53.create_hosted_zone(Name="example.org", CallerReference="1")["HostedZone"]["Id"]
        point(route53, zone, "backup.example.org", "10.77.0.11")
        first = ask(sandbox, "Backup.Example.org")

        point(route53, zone, "backup.example.org", "10.77.0.12")
        second = ask(sandbox, "backup.example.org")

        assert [(str(answer.rdata), answer.ttl) for answer in first.rr] == [("10.77.0.11", 60)]
        assert [str(answer.rdata) for answer in second.rr] == ["10.77.0.12"]


def test_an_unknown_name_does_not_exist_and_a_known_one_has_no_other_kind(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        route53 = client("route53", sandbox.endpoint)
        zone = route53.create_hosted_zone(Name="example.org", CallerReference="1")["HostedZone"]["Id"]
        point(route53, zone, "backup.example.org", "10.77.0.11")

        unknown, other_kind = ask(sandbox, "us7.example.org"), ask(sandbox, "backup.example.org", "AAAA")

        assert RCODE[unknown.header.rcode] == "NXDOMAIN"
        assert (RCODE[other_kind.header.rcode], other_kind.rr) == ("NOERROR", [])
        assert QTYPE[other_kind.q.qtype] == "AAAA"


def test_what_is_no_question_does_not_stop_the_server(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
            rude.sendto(b"\xff", sandbox.substrate.names.getsockname())

        assert RCODE[ask(sandbox, "us7.example.org").header.rcode] == "NXDOMAIN"
