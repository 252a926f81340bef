"""The name a receiver is found by (Route 53), and who may reach its port (the security group)."""

from collections.abc import Sequence
from ipaddress import ip_network

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told
from chalicelib.aws.ingress import close_way, find_ways, open_way
from chalicelib.core.model import Way

# A host asks again at every attempt, and should then find the receiver of this night, not of the last.
_TIME_TO_LIVE = 60
_SSH = 22


class Route53Address:
    """An A record in the deployment's zone."""

    def __init__(self, clients: Clients, zone: str, group: str) -> None:
        self._clients = clients
        self._zone = zone
        self._group = group

    def current(self, name: str) -> str | None:
        with told(f"looking up {name} in zone {self._zone}"):
            answer = self._clients.route53.list_resource_record_sets(
                HostedZoneId=self._zone, StartRecordName=name, StartRecordType="A", MaxItems="1"
            )
        for record in answer["ResourceRecordSets"]:
            if record["Name"].rstrip(".") == name.rstrip(".") and record["Type"] == "A":
                return record["ResourceRecords"][0]["Value"]
        return None

    def point(self, name: str, address: str) -> None:
        with told(f"pointing {name} at {address}"):
            self._clients.route53.change_resource_record_sets(
                HostedZoneId=self._zone,
                ChangeBatch={
                    "Changes": [
                        {
                            "Action": "UPSERT",
                            "ResourceRecordSet": {
                                "Name": name,
                                "Type": "A",
                                "TTL": _TIME_TO_LIVE,
                                "ResourceRecords": [{"Value": address}],
                            },
                        }
                    ]
                },
            )

    def open_to(self) -> tuple[str, ...]:
        with told(f"looking at group {self._group}"):
            return tuple(sorted(self._open_to()))

    def allow(self, networks: Sequence[str]) -> None:
        """Open first, close then: a network that stays is never shut out in between."""
        wanted = {str(ip_network(network)) for network in networks}
        with told(f"opening group {self._group} to {', '.join(sorted(wanted)) or 'no one'}"):
            present = self._open_to()
            for network in sorted(wanted - present):
                open_way(self._clients, self._group, Way(_SSH, network))
            for network in sorted(present - wanted):
                close_way(self._clients, self._group, Way(_SSH, network))

    def admit(self, networks: Sequence[str]) -> None:
        """Asks for all of them: one that is in already is refused as a duplicate, and that is that."""
        with told(f"opening group {self._group} to {', '.join(networks)}, too"):
            for network in networks:
                open_way(self._clients, self._group, Way(_SSH, str(ip_network(network))))

    def _open_to(self) -> set[str]:
        return {way.network for way in find_ways(self._clients, self._group) if way.port == _SSH}
