"""Many hosts at once: a real sshd that turns most of them away, and the hello of each, which comes back until heard."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.way import way_to
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.sshd import CROWD
from ebbtide_agent.report import Hello
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws, wait_until

IS_ROOT = os.geteuid() == 0
# A thousand take longer than a run of all tests has. So many may shake hands at the same time.
HOSTS = int(os.environ.get("EBBTIDE_HOSTS", "12"))
AT_ONCE = os.environ.get("EBBTIDE_AT_ONCE", "3")
TURNED_AWAY = "past MaxStartups"

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def hello_of(receiver: Receiver, host: str, place: Path) -> Hello:
    paths = receiver.configure(host, place, place / host)
    way = way_to(load(paths), paths, World(lambda: datetime.now(UTC)))
    return way.hello(datetime.now(UTC) + timedelta(minutes=30))


@contextmanager
def a_full_door(receiver: Receiver) -> Iterator[None]:
    """So many who say nothing that sshd takes nobody else: hosts that come slowly would never be too many."""
    with ExitStack() as silent:
        for _ in range(int(AT_ONCE.rpartition(":")[2])):
            silent.enter_context(socket.create_connection(("localhost", receiver.port)))
        yield


@pytest.mark.fault("N6")
def test_of_hosts_that_all_come_at_once_whoever_is_turned_away_comes_back_until_it_is_heard(tmp_path: Path) -> None:
    hosts = [f"{number:03x}" for number in range(HOSTS)]
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, hosts) as receiver:
        receiver.tell_sshd(f"MaxStartups {CROWD.free}:30:{CROWD.most}", f"MaxStartups {AT_ONCE}")
        log = receiver.root / "run/ebbtide/sshd.log"

        with ThreadPoolExecutor(HOSTS) as crowd:
            with a_full_door(receiver):
                hellos = crowd.map(lambda host: hello_of(receiver, host, tmp_path), hosts)
                wait_until(lambda: TURNED_AWAY in log.read_text(), "one that is turned away")
            heard = list(hellos)

        assert [hello.host for hello in heard] == hosts
        assert log.read_text().count("Accepted publickey") == HOSTS
