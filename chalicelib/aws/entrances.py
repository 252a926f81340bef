"""The ways in to restored machines: the rules of the security group that they share."""

from collections.abc import Collection

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told
from chalicelib.aws.ingress import close_way, find_ways, open_way
from chalicelib.core import entrances
from chalicelib.core.model import Way


class Ec2Entrances:
    """One group for all of them."""

    def __init__(self, clients: Clients, group: str) -> None:
        self._clients = clients
        self._group = group

    def ways(self) -> frozenset[Way]:
        with told(f"looking at group {self._group}"):
            return find_ways(self._clients, self._group)

    def set(self, ways: Collection[Way]) -> None:
        """Close first, open then: a full group has room for what takes the place. What stays is not touched."""
        with told(f"opening group {self._group}: {entrances.told(ways) or 'to no one'}"):
            present = find_ways(self._clients, self._group)
            for way in sorted(present - {*ways}):
                close_way(self._clients, self._group, way)
            for way in sorted({*ways} - present):
                open_way(self._clients, self._group, way)
