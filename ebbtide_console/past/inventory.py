"""What a recovery card says, read from snapshots, reports and the newest policy as they are now."""

from collections.abc import Callable
from datetime import datetime

from chalicelib.core.ids import HOST_NAME
from chalicelib.core.policy import Policy
from chalicelib.core.policy_file import parse
from chalicelib.errors import ConfigError, EbbtideError, PermanentError
from ebbtide_console.past.card import ARCHITECTURES, UNKNOWN, Facts, Region, Server
from ebbtide_console.past.points import Point, find_points, find_reported, newest_policy
from ebbtide_console.session import Account

Reach = Callable[[str], Account]


def take_inventory(account: Account, reach: Reach, now: datetime) -> Facts:
    """Of this region, and of the one that the policy has copies in, which `reach` gives.

    What cannot be read is said on the card, for a card with a gap is better than none. Raises PermanentError when there
    is no restore point in either.
    """
    faults: list[str] = []
    policy = _policy(account, faults)
    regions = [_region(account, faults)]
    if policy and policy.copy and policy.copy.region != account.region:
        try:
            regions.append(_region(reach(policy.copy.region), faults))
        except EbbtideError as fault:
            faults.append(f"region {policy.copy.region}: {fault}")
    if not any(region.servers for region in regions):
        raise PermanentError(f"there is no restore point in {account.region}: a card could bring nothing back")
    return Facts(
        account.id,
        now,
        tuple(regions),
        receivers=tuple(policy.receivers) if policy else (),
        vault=policy.vault.account if policy and policy.vault else None,
        types={ARCHITECTURES.get(name, name): each for name, each in policy.restore.instances.items()}
        if policy
        else {},
        faults=tuple(dict.fromkeys(faults)),
    )


def _policy(account: Account, faults: list[str]) -> Policy | None:
    try:
        text = newest_policy(account)
        return parse(text, "the newest") if text else None
    except ConfigError as error:
        faults.append(f"the newest policy: {error.faults[0]}")
    except EbbtideError as fault:
        faults.append(f"the newest policy in {account.bucket}: {fault}")
    return None


def _region(account: Account, faults: list[str]) -> Region:
    points, damaged = find_points(account)
    faults += damaged
    newest = {point.host_id: point for point in points}.values()
    keys = sorted({point.snapshot.key for point in newest if point.snapshot.key})
    servers = tuple(_server(point, account, faults) for point in newest)
    return Region(account.region, account.bucket, servers, tuple(keys))


def _server(point: Point, account: Account, faults: list[str]) -> Server:
    try:
        said = find_reported(point, account).architecture or ""
    except EbbtideError as fault:
        said = ""
        faults.append(f"{point.host} in {point.run}: {fault}")
    return Server(
        name=point.host if HOST_NAME.fullmatch(point.host) else point.host_id,
        id=point.host_id,
        at=point.at,
        snapshot=point.snapshot.id,
        size_gib=point.snapshot.size_gib,
        architecture=ARCHITECTURES.get(said, UNKNOWN),
        tree=point.tree,
    )
