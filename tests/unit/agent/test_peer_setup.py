"""What `peer add` and `peer remove` plan on a machine, and what they refuse to."""

import grp
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.errors import ConfigError, PermanentError, Refused
from ebbtide_agent.host.config import load
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.peer import request
from ebbtide_agent.peer.ids import choose_uid, find_taken
from ebbtide_agent.peer.register import Guest, Register, find_register
from ebbtide_agent.peer.request import GuestRequest
from ebbtide_agent.peer.request import Machine as ThisMachine
from ebbtide_agent.peer.setup import Plan, lines_for_the_guest, plan_add, plan_remove
from ebbtide_agent.site import Site
from ebbtide_agent.steps import WriteFile, walk

KEY, OTHER = f"ssh-ed25519 {'A' * 44}", f"ssh-ed25519 {'B' * 44}"


class Machine:
    """eu0, not as root: everything in places of its own."""

    def __init__(self, place: Path) -> None:
        self.places = HostPaths(place / "etc", place / "state")
        self.places.etc.mkdir()
        self.store = place / "store"
        site = Site(self.places, place / "ebbtide-agent", "eu0", is_the_systems=False, has_systemd=False)
        self.here = ThisMachine(site, 1000, ("python3", "/opt/ebbtide-agent", "peer", "gate"))
        self.us0 = GuestRequest("us0", "us0a", (KEY,), self.store)

    @property
    def paths(self) -> PeerPaths:
        return PeerPaths(self.places.state, self.store)

    def add(self, request: GuestRequest) -> Plan:
        plan = plan_add(request, self.here)
        walk(plan.steps, lambda _: None, dry_run=False)
        return plan

    def refuses(self, request: GuestRequest, because: str) -> None:
        with pytest.raises(ConfigError, match=because):
            plan_add(request, self.here)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_once_it_is_added_there_is_nothing_left_to_do(machine: Machine) -> None:
    first = machine.add(machine.us0)

    second = plan_add(replace(machine.us0, store=None), machine.here)

    assert second.steps == () and second.register == first.register == find_register(machine.places.peer)
    assert machine.paths.tree("us0a").is_dir()
    assert machine.paths.authorized_keys.read_text() == (
        f'restrict,command="python3 /opt/ebbtide-agent peer gate us0a" {KEY}\n'
    )
    assert second.notes == first.notes and "peer serve --etc" in second.notes[0]


def test_nothing_is_done_while_it_is_only_planned(machine: Machine) -> None:
    plan = plan_add(machine.us0, machine.here)

    assert plan.steps
    assert list(machine.places.etc.iterdir()) == [] and not machine.store.exists()


def test_what_is_kept_of_others_is_not_in_this_machines_own_backup(machine: Machine) -> None:
    """Or two servers would send each other their own backups back."""
    machine.places.config.write_text(f"HOST=eu0\nTARGET=receiver://us0:2222\nKEEP=7\nROOT={machine.store.parent}\n")
    before = load(machine.places)

    machine.add(machine.us0)

    assert set(load(machine.places).exclude) - set(before.exclude) == {"/store/*"}


def test_what_is_not_said_stays_as_it_is(machine: Machine) -> None:
    machine.add(replace(machine.us0, keep=3, port=2200))

    changed = machine.add(GuestRequest("us0", "us0a", (OTHER,)))

    assert changed.register.port == 2200
    assert changed.register.guests == (Guest("us0", "us0a", 1000, (OTHER,), 3),)
    assert KEY not in machine.paths.authorized_keys.read_text()


def test_what_cannot_be_is_named_all_at_once(machine: Machine) -> None:
    machine.refuses(
        GuestRequest("US 0", "us0", (), machine.store, 0), "no host's name(.|\n)*--id is(.|\n)*--key(.|\n)*--keep"
    )
    machine.refuses(replace(machine.us0, store=None), "needs --at")
    machine.refuses(replace(machine.us0, store=Path("store")), "an absolute path")
    machine.add(machine.us0)
    machine.refuses(replace(machine.us0, port=22), "has the port 2222")
    machine.refuses(replace(machine.us0, store=Path("/srv/other")), "has its store at")


def test_an_id_and_a_key_are_one_hosts_for_ever(machine: Machine) -> None:
    machine.add(machine.us0)

    machine.refuses(GuestRequest("us1", "us0a", (OTHER,)), "us0 has that id or that key")
    machine.refuses(GuestRequest("us1", "us1a", (KEY,)), "us0 has that id or that key")
    machine.refuses(GuestRequest("us0", "us0b"), "has the id us0a for ever")
    walk(plan_remove("us0", False, machine.here).steps, lambda _: None, dry_run=False)
    with pytest.raises(Refused, match="holds the backups of us0"):
        plan_add(GuestRequest("us1", "us0a", (OTHER,)), machine.here)


def test_a_directory_with_anything_else_in_it_is_no_store(machine: Machine) -> None:
    machine.store.mkdir()
    (machine.store / "lost+found").mkdir()
    (machine.store / ".receiver.json.new").touch()
    plan_add(machine.us0, machine.here)
    (machine.store / "mail").mkdir()

    with pytest.raises(Refused, match=r"holds files and no receiver\.json"):
        plan_add(machine.us0, machine.here)


def test_a_store_that_should_be_mounted_and_is_not_is_refused(machine: Machine) -> None:
    machine.places.fstab.write_text(f"/dev/sdb1 {machine.store} ext4 defaults 0 2\n")

    with pytest.raises(Refused, match="is not mounted"):
        plan_add(machine.us0, machine.here)


def test_another_disk_is_not_taken_for_the_store(machine: Machine) -> None:
    machine.add(machine.us0)
    machine.paths.volume_owner.write_text('{"schema": 1, "receiver": "peer-0000"}')

    with pytest.raises(Refused, match="is the store of peer-0000"):
        plan_add(machine.us0, machine.here)


def test_a_store_whose_machine_was_installed_anew_is_known_again(machine: Machine) -> None:
    mark = machine.add(machine.us0).register.mark
    machine.places.peer.unlink()

    assert machine.add(machine.us0).register.mark == mark


def test_what_is_kept_stays_unless_it_is_to_be_forgotten(machine: Machine) -> None:
    machine.add(machine.us0)

    removed = plan_remove("us0", False, machine.here)
    forgotten = plan_remove("us0", True, machine.here)

    place = str(machine.paths.host("us0a"))
    assert removed.register.guests == ()
    assert not any(f"remove {place} " in f"{step} " for step in removed.steps) and place in removed.notes[0]
    assert any(f"remove {place} " in str(step) for step in forgotten.steps)
    with pytest.raises(ConfigError, match="takes no backup of us9"):
        plan_remove("us9", False, machine.here)


@pytest.mark.parametrize("name", ["subuid", "subgid"])
def test_a_user_id_is_no_containers_here(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# containers\n\nroot:2100000000:10000000\nnobody knows:what:this is\n")

    assert choose_uid("us0a", find_taken(tmp_path)) == 2_121_435_978


def test_each_guest_of_root_has_a_user_id_of_its_own_and_of_anybody_else_that_ones(machine: Machine) -> None:
    register = Register(machine.store, 2222, "peer-0000")
    guests = (machine.us0, GuestRequest("us1", "us1a", (OTHER,)))

    as_root, as_another = (
        [request.guest_for(each, register, replace(machine.here, uid=uid)).uid for each in guests] for uid in (0, 1000)
    )

    assert as_root == [choose_uid("us0a", ()), choose_uid("us1a", ())] and as_root[0] != as_root[1]
    assert as_another == [1000, 1000]


def test_a_user_id_is_nobodys_here(tmp_path: Path) -> None:
    taken = find_taken(tmp_path)

    assert choose_uid("us0a", taken) == 2_101_435_978
    assert all(any(each.gr_gid in ids for ids in taken) for each in grp.getgrall())
    assert all(any(each.pw_uid in ids for ids in taken) for each in pwd.getpwall())
    with pytest.raises(PermanentError, match=r"2101435978 and 2121435978 for us0a is somebody's.* give another --id"):
        choose_uid("us0a", (range(2_100_000_000, 2_110_000_000), range(2_121_435_978, 2_121_435_979)))


@pytest.mark.parametrize("host_id", ["0000", "zzzz"])
def test_a_user_id_is_in_no_range_that_systemd_or_sssd_gives_to_others(host_id: str) -> None:
    """https://systemd.io/UIDS-GIDS; sssd-ldap(5), ldap_idmap_range_max."""
    services, containers, foreign = range(61184, 65520), range(524_288, 1_879_048_192), range(0x7FFE0000, 0x7FFF0000)
    domain = range(200_000, 2_000_200_000)
    first = choose_uid(host_id, ())
    second = choose_uid(host_id, (range(first, first + 1),))

    for uid in (first, second):
        assert not any(uid in each for each in (services, containers, foreign, domain))
        assert 65536 <= uid < 2**31 - 1


def test_the_other_side_is_told_what_to_write(machine: Machine) -> None:
    plan = plan_add(machine.us0, machine.here)

    lines = lines_for_the_guest(plan.register.guests[0], plan.register, "eu0.example.org", KEY, "backup").splitlines()

    assert f'ebbtide-agent install --host us0 --target receiver://eu0.example.org:2222 --host-key "{KEY}"' in lines
    assert {"TARGET=receiver://eu0.example.org:2222", "USER=backup", f"eu0.example.org {KEY}"} <= {*lines}


def test_where_systemd_is_in_charge_it_starts_the_service(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "check_program", lambda program: None)
    site = replace(machine.here.site, is_the_systems=True, has_systemd=True, program=Path("/usr/bin/ebbtide-agent"))
    here = replace(machine.here, site=site)

    plan = plan_add(machine.us0, here)

    (written,) = (step for step in plan.steps if isinstance(step, WriteFile) and step.path.suffix == ".service")
    assert "ExecStart=/usr/bin/ebbtide-agent peer serve\n" in written.body
    assert f"RequiresMountsFor={machine.store}\n" in written.body
    # One guest's session that was killed for want of memory would else end the service, and with it everybody's.
    assert "OOMPolicy=continue\n" in written.body
    # Its memory is divided among its guests.
    assert "Delegate=memory cpu\n" in written.body
    assert [str(step) for step in plan.steps[-3:]] == [
        "systemctl daemon-reload",
        "systemctl enable ebbtide-peer.service",
        "systemctl restart ebbtide-peer.service",
    ]
    assert plan.notes == ()


def test_root_is_not_made_to_start_what_others_may_change(machine: Machine) -> None:
    site = replace(machine.here.site, is_the_systems=True, program=machine.places.etc / "ebbtide-agent")
    site.program.touch()
    site.program.parent.chmod(0o777)

    with pytest.raises(PermanentError, match="others may change"):
        plan_add(machine.us0, replace(machine.here, site=site))
