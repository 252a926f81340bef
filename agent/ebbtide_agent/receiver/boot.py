"""The receiver's main process: clock, brief, volume, walls, sshd, ready; wait until all have reported; release; off."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ebbtide_agent import power, procs, volume
from ebbtide_agent.errors import AgentError, PermanentError, Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.instance import PATIENCE_SECONDS
from ebbtide_agent.orders import Order, Stopped, stopped_by_signals
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import cgroups, clock, quotas, sshd, station
from ebbtide_agent.receiver.baseline import keep_what_waits
from ebbtide_agent.receiver.brief import Brief, BriefedHost, parse_brief
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.mail import Mail, Mailing
from ebbtide_agent.receiver.places import choose_walls, find_why_turned_away, make_places, make_room
from ebbtide_agent.receiver.postman import Postman
from ebbtide_agent.receiver.release import release
from ebbtide_agent.receiver.station import Station, put_word, say
from ebbtide_agent.receiver.status import forget_tree
from ebbtide_agent.report import LONGEST_PROBLEM, readable, report_key
from ebbtide_agent.whose import Claim, look_first

FILESYSTEMS = (volume.EXT4, volume.BTRFS)


def boot(receiver: Station) -> int:
    """Be the receiver until its night is over; 0 when the volume was let go cleanly. The machine powers off, always."""
    stop = stopped_by_signals()
    try:
        return _night(receiver, stop)
    finally:
        power.off(receiver.paths.root)


def _night(receiver: Station, stop: Order) -> int:
    paths, cloud = receiver.paths, receiver.cloud
    try:
        brief = _fetch_brief(receiver, stop)
        listener = _open_or_let_go(brief, receiver, stop)
    except (volume.Damaged, Stopped):
        raise
    except Exception as fault:
        _put_refused(receiver, fault)
        raise
    try:
        _put_ready(brief, receiver)
        _record_turned_away(brief, receiver)
        _wait(brief, receiver, listener, stop)
    finally:
        clean = release(receiver.instance, brief, paths, cloud, receiver.now, listener)
        say(f"released {'cleanly' if clean else 'uncleanly'}")
    return 0 if clean else 1


def _fetch_brief(receiver: Station, stop: Order) -> Brief:
    """What this night is, once the clock is right: S3 refuses whoever is a quarter of an hour off."""
    paths, cloud = receiver.paths, receiver.cloud
    make_room(paths)
    clock.await_right(cloud, receiver.instance.brief, receiver.now, stop)
    body = cloud.get_brief(receiver.instance.brief)
    brief = parse_brief(body)
    write_whole(paths.brief, body)
    return brief


def _open_or_let_go(brief: Brief, receiver: Station, stop: Order) -> procs.Child:
    """The door, open; or the volume is not in its place any more, and the archive knows if it is damaged."""
    try:
        return _open(brief, receiver, stop)
    except volume.Damaged as damage:
        _put_damaged(brief, receiver, damage)
        raise
    except BaseException:
        # Also where it stays mounted, what is told is why the door is shut.
        with contextlib.suppress(PermanentError):
            volume.unmount(receiver.paths.volume)
        raise


def _open(brief: Brief, receiver: Station, stop: Order) -> procs.Child:
    """Volume, places, walls, and at last the door. What goes wrong here leaves no record of a release behind."""
    paths, door = receiver.paths, receiver.door
    volume.await_device(paths.device(brief.volume_id), PATIENCE_SECONDS, stop.pause)
    offered = open_places(brief, paths, door.as_root)
    for sentence in quotas.sentences(quotas.keep_all(offered, paths, brief.hosts), brief.hosts):
        say(sentence)
    say(choose_walls(paths, door.as_root))
    say(cgroups.divide())
    _recall(brief, receiver)
    config = sshd.write_files(paths, brief.hosts, receiver.cloud.get_parameter(brief.host_key_parameter), door)
    # Through the open door somebody may push at once: from here on whoever is told to stop is ready, and lets go.
    stop.check()
    return sshd.start(paths, config, door)


def open_places(brief: Brief, paths: MachinePaths, as_root: bool) -> quotas.Quotas:
    """The volume, and a place on it for each host. Raises Damaged where it turns out that it cannot be read.

    Of an ext4 that is in its own records, and the next check mends it, or says so. A btrfs keeps no such record: it
    would be met like this every night.
    """
    try:
        offered = open_volume(brief, paths)
        without = make_places(paths, brief.hosts, as_root, offered.make_tree)
    except OSError as error:
        if brief.filesystem == volume.BTRFS and error.errno in volume.UNREADABLE:
            raise volume.Damaged(f"volume {brief.volume_id} cannot be read, and needs a person: {error}") from error
        raise
    for host_id, why in without.items():
        say(f"{host_id} has no place on it tonight, and is turned away: {why}")
    return offered


def open_volume(brief: Brief, paths: MachinePaths) -> quotas.Quotas:
    """Have this receiver's volume in its place, new or known, and what it can keep hosts to their quotas by.

    Raises Refused when it is another's, and Damaged when it has lost whose it is.
    """
    if brief.filesystem not in FILESYSTEMS:
        raise PermanentError(f"file system {brief.filesystem} is not supported; expected {' or '.join(FILESYSTEMS)}")
    device = paths.device(brief.volume_id)
    claim = claim_of(brief, paths)
    _refuse_anothers(brief, device, paths.volume, claim)
    ready = volume.make_ready(device, paths.volume, brief.filesystem)
    is_mended = ready.is_mended or (brief.is_distrusted and volume.look_through(device, ready.filesystem))
    is_new = _is_new(device, paths.volume, ready.filesystem, claim)
    offered = quotas.attach(device, paths.volume, ready.filesystem, brief.hosts)
    if is_new:
        claim.put_mark()
    say(f"volume {brief.volume_id} is at {paths.volume}")
    if is_mended:
        _forget_what_the_trees_are(paths)
    if why := volume.keep_a_reserve(device, ready.filesystem):
        say(f"nothing is put by for what is recorded: {why}")
    if why := volume.fill(device, paths.volume, ready.filesystem):
        say(f"its file system is no larger than it was: {why}")
    return offered


def claim_of(brief: Brief, paths: MachinePaths) -> Claim:
    """That a volume is this receiver's."""
    return Claim(brief.volume_id, paths.volume_owner, "receiver", brief.receiver, paths.hosts)


def _refuse_anothers(brief: Brief, device: Path, place: Path, claim: Claim) -> None:
    """What is another's, or may be, is not even checked: that writes."""
    found = volume.find_filesystem(device)
    if not found:
        return
    if found not in FILESYSTEMS:
        raise Refused(f"volume {brief.volume_id} has {found} on it: it is not a receiver's")
    look_first(device, place, found, claim)


def _is_new(device: Path, place: Path, filesystem: str, claim: Claim) -> bool:
    """Whether a volume that was checked is nobody's yet. Raises Refused when it is another's, of which its journal
    alone may have told."""
    volume.attach(device, place, filesystem, "ro")
    with volume.unmounted_on_failure(place):
        is_marked = claim.is_marked()
    # As long as this mount is anywhere the next one is read-only, too.
    volume.let_go(device, place)
    return not is_marked


def _forget_what_the_trees_are(paths: MachinePaths) -> None:
    """What fsck has taken out, or cut short, is missed only by who looks at everything."""
    say("its file system had errors, which were mended: every host compares all that it has tonight")
    for home in paths.hosts.iterdir() if paths.hosts.is_dir() else ():
        forget_tree(paths.status(home.name))


def _recall(brief: Brief, receiver: Station) -> None:
    """What machines before this one have recorded: what they were lost before they could put it in its place is put
    there, and those of this run have nobody waited for twice.
    """
    for host in brief.hosts:
        keep_what_waits(receiver.paths, host.id, receiver.cloud)
        if _is_recorded(host, brief, receiver):
            write_whole(receiver.paths.reported(host.id), b"")


def _is_recorded(host: BriefedHost, brief: Brief, receiver: Station) -> bool:
    try:
        receiver.cloud.get(report_key(brief.run, brief.nonce, host.id))
    except KeyError:
        return False
    return True


def _put_ready(brief: Brief, receiver: Station) -> None:
    """From here on hosts push to this volume: it is the one to be snapshotted, whatever is forgotten of the run."""
    _put_word("ready", receiver, volume={"id": brief.volume_id})
    say(f"ready on port {receiver.door.port}")


def _record_turned_away(brief: Brief, receiver: Station) -> None:
    """Only now: to who reads it a report says that a volume may have been pushed to. Without the record they wait."""
    ledger = Ledger(receiver.paths, brief, Mailing(receiver.cloud, Mail(receiver.paths.outbox)))
    for host in brief.hosts:
        if why := find_why_turned_away(receiver.paths, host.id):
            try:
                ledger.record_turned_away(host, why, receiver.now())
            except (AgentError, OSError) as error:
                say(f"that {host.id} has no place could not be recorded: {error}")


def _put_damaged(brief: Brief, receiver: Station, damage: volume.Damaged) -> None:
    """Nobody pushes to this volume any more: the night goes on with another, made from a snapshot."""
    _put_why("damaged", receiver, damage, volume={"id": brief.volume_id})


def _put_refused(receiver: Station, fault: Exception) -> None:
    """Nobody is let in tonight: operators are told why."""
    _put_why("refused", receiver, fault)


def _put_why(what: str, receiver: Station, fault: Exception, **more: object) -> None:
    """Where not even that gets through, what counts is the fault."""
    try:
        _put_word(what, receiver, why=_as_line(fault), **more)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the fault is what is raised
        say(f"operators are not told why: {failure}")


def _as_line(fault: Exception) -> str:
    said = str(fault) if isinstance(fault, AgentError) else f"{type(fault).__name__}: {fault}"
    return readable(said)[:LONGEST_PROBLEM]


def _put_word(what: str, receiver: Station, **more: object) -> None:
    put_word(what, receiver.instance, receiver.cloud, receiver.now(), **more)


def _wait(brief: Brief, receiver: Station, listener: procs.Child, stop: Order) -> None:
    def find_end() -> str | None:
        have_reported = all(receiver.paths.reported(host.id).exists() for host in brief.hosts)
        return "every host has reported" if have_reported else None

    postman = Postman(Mail(receiver.paths.outbox), receiver.cloud)
    station.wait(receiver, listener, stop, brief.deadline, find_end, postman.go)
