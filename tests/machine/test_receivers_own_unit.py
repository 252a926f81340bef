"""A receiver in the unit that its user data writes, with memory and processors that systemd hands over: one host takes
all that it can get of both."""

import json
from pathlib import Path

import pytest

from ebbtide_console.sandbox import furnishing
from tests.local.booting import a_receivers_parts
from tests.local.receiver_machine import REGION, an_aws, wait_until, word_key
from tests.machine.virtual import MEMORY_MIB, OURS, PATIENCE_SECONDS, TO_A_VOLUME, a_disk, a_machine, as_a_disk

SERVICE = "/sys/fs/cgroup/system.slice/ebbtide.service"
BOOT = """
mkdir /srv/launch && mount /dev/vdc /srv/launch
cp -r /srv/launch/.aws /root
sh /srv/launch/user-data
"""
HELLO = "ssh -o UserKnownHostsFile=/srv/launch/known_hosts -i /srv/launch/key-{host} root@localhost hello"
# Of what has no name; only the group counts it, and only the group's end is also its end.
FILL = f"""
if sh -c 'echo $$ >{SERVICE}/host-us0a/cgroup.procs && exec choom --adjust 1000 -- "$@"' fill python3 -c '
import os
file = os.memfd_create("us0")
while True:
    os.write(file, bytes(1 << 20))
'; then false; else echo ended with $?; fi
"""


# What does nothing but count, of us0 sixteen and of eu0 one; and then how long each host's sessions have had.
COUNT = f"""
for host in us0a $(yes us0a | head -n 15) eu0a
do
    sh -c 'echo $$ >{SERVICE}/host-'$host'/cgroup.procs && exec timeout 30 sh -c "while :; do :; done"' &
done
wait
for host in us0a eu0a; do sed -n 's/^usage_usec //p' {SERVICE}/host-$host/cpu.stat; done
"""
# A third of what the other one has: both would have half, were nothing else done; and among all processes a 17th.
LEAST = 3


@pytest.mark.attack("take all of the processors", row="X9", outcome="as much as any other host")
def test_who_fills_a_hosts_share_ends_and_neither_the_receiver_nor_another_host_does(
    tree: Path, tmp_path: Path
) -> None:
    launch = tmp_path / "launch"
    launch.mkdir()
    with (tmp_path / "blank").open("wb") as volume:
        volume.truncate(1 << 30)
    with an_aws() as aws:
        *_, user_data = a_receivers_parts(aws, launch, "us0", "eu0")
        (launch / "user-data").write_text(user_data)
        furnishing.write_aws_config(launch, aws.endpoint.replace("127.0.0.1", OURS), REGION)
        disks = [as_a_disk(tmp_path / "blank"), as_a_disk(a_disk(launch, tmp_path / "launch.img"))]
        with a_machine(tree, tmp_path, *disks, restricted=False) as machine:
            machine.run(TO_A_VOLUME)
            machine.run(BOOT)
            wait_until(lambda: aws.find(word_key("ready")) or machine.is_off(), "the receiver", PATIENCE_SECONDS)
            machine.run(HELLO.format(host="us0"))

            machine.run(HELLO.format(host="eu0"))
            greedy, modest = map(int, machine.run(COUNT).split())
            share = int(machine.run(f"cat {SERVICE}/host-us0a/memory.max"))
            filled = machine.run(FILL)

            answers = [machine.run(HELLO.format(host=host)) for host in ("us0", "eu0")]
            state = machine.run("systemctl is-active ebbtide.service").strip()
            log = machine.run("journalctl --unit ebbtide.service --output cat --no-pager")
    assert modest * LEAST > greedy, (greedy, modest)
    assert share in range(MEMORY_MIB << 18, MEMORY_MIB << 19)
    assert f"a host's sessions have {share >> 20} MiB of memory; if they need more, they alone end" in log
    assert filled == "ended with 137\n"
    assert [json.loads(each)["host"] for each in answers] == ["us0", "eu0"]
    assert state == "active", log
