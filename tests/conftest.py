"""How properties are tried: a machine that is slow, or busy, is no counterexample. How garbage is collected: seldom.
What boto3 knows of AWS's services is read once. The files that take longest begin first, and before them what makes the
Debian trees that some of them need.
"""

import gc
from functools import cache

import botocore.session
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ebbtide", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ebbtide")

# Before moto is loaded: to read it takes longer than most tests, and every session would do it again.
botocore.session.create_loader = cache(botocore.session.create_loader)

# In tests/, the first before those that use what it makes; the rest follow as they are called.
LONGEST = (
    "local/test_debian_trees.py",
    "local/test_push.py",
    "local/test_standing_receiver.py",
    "local/test_peer.py",
    "sim/test_every_call.py",
    "local/test_index_push.py",
    "local/test_whole_nights.py",
    "local/test_second_region.py",
    "local/test_opened.py",
    "local/test_guarded_nights.py",
    "local/test_peer_sessions.py",
    "local/test_receiver_on_debian.py",
    "local/test_open_nights.py",
    "local/test_card_followed.py",
    "local/test_restore_directory.py",
    "local/test_package_on_debian.py",
    "local/test_restored_server.py",
    "local/test_black_holes.py",
    "local/test_not_yet_up.py",
    "local/test_broken_volumes.py",
    "local/test_restore_remote.py",
    "local/test_quotas.py",
    "local/test_restore_opened.py",
    "sim/test_own_hosts.py",
    "local/test_bytes.py",
    "local/test_broken_pushes.py",
    "sim/test_chance.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker that is left alone with a long file is waited for by all others."""
    first = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.nodeid.partition("::")[0].removeprefix("tests/"), len(LONGEST)))


def pytest_collection_finish() -> None:
    """What was imported stays: to look through all of it thousands of times takes a fifth of a simulated night."""
    gc.freeze()
    gc.set_threshold(50_000)
