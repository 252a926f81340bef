"""What the sandbox's hosts hold: real Debian servers, or parts of this machine where none can be made."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbtide_console import procs
from ebbtide_console.sandbox import awkward

HOSTS = ("us0", "eu0")
SUITE = "bookworm"
PACKAGES = ("systemd-sysv", "nginx-light")
# Otherwise apt takes the other one of the two packages that an essential one asks for, and with it all of Perl.
MERGED = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
PROBE = "http://127.0.0.1/"
PARTS = {"us0": ("/etc", "/usr/sbin", "/usr/lib/systemd"), "eu0": ("/etc", "/usr/share/perl5")}


@dataclass(frozen=True)
class Source:
    """What one host backs up: paths below `root`, less `exclude`; `ours` if we may change it between nights."""

    host: str
    root: Path
    origin: str
    include: tuple[str, ...] = ("/",)
    exclude: tuple[str, ...] = ()
    probe: str | None = None
    ours: bool = False
    whole_system: bool = True


def prepare(cache: Path, tree: Path | None, may_bootstrap: bool, say: Callable[[str], None]) -> list[Source]:
    """The sources of both hosts: `tree` when the user named one, else Debian servers, else parts of this machine."""
    if tree is not None:
        return [_as_it_is(host, tree) for host in HOSTS]
    if may_bootstrap and _have_servers(cache, say):
        return [_server(host, cache / host) for host in HOSTS]
    return [_parts_of_this_machine(host) for host in HOSTS]


def bootstrap_argv(suite: str, packages: Iterable[str], place: Path) -> tuple[str, ...]:
    """What makes a small Debian server with these packages."""
    chosen = ("--variant=minbase", f"--include={','.join(packages)}", f"--hook-dir={MERGED}")
    return ("mmdebstrap", *chosen, suite, str(place))


def change_since_last_night(source: Source, night: str) -> None:
    """What a day does to a server: a log grows, a file is new, one is gone. Only ever in trees that we made."""
    if not source.ours:
        return
    with (source.root / "var/log/nightly.log").open("a") as log:
        log.write(f"{night} the nightly job ran on {source.host}\n" * 200)
    days = source.root / "srv/days"
    days.mkdir(exist_ok=True)
    for old in sorted(days.iterdir())[:-2]:
        old.unlink()
    (days / night.replace("/", "-")).write_text(f"what {night} brought\n")


def _have_servers(cache: Path, say: Callable[[str], None]) -> bool:
    """Make both servers unless they are there; False, and the reason said, when the mirror cannot be reached."""
    cache.mkdir(parents=True, exist_ok=True)
    first, second = (cache / host for host in HOSTS)
    if not first.exists():
        say(f"making {first.name}, a Debian server ({SUITE} with systemd and nginx), once: half a minute")
        making = _afresh(first)
        made = procs.capture(bootstrap_argv(SUITE, PACKAGES, making))
        if made.returncode != 0:
            reason = (made.stdout + made.stderr).strip().splitlines()[-1:] or ["no output"]
            say(f"no Debian server could be made ({reason[0]}): using parts of this machine")
            procs.remove_tree(making)
            return False
        _settle_in(making, first.name)
        making.rename(first)
    if not second.exists():
        say(f"making {second.name} from {first.name}: another name, other users, other files")
        making = _afresh(second)
        procs.check(("cp", "-a", "--one-file-system", "--reflink=auto", str(first), str(making)))
        _settle_in(making, second.name)
        procs.remove_tree(making / "usr/share/locale")
        making.rename(second)
    return True


def _afresh(place: Path) -> Path:
    """Where `place` is being made; what an interrupted attempt left is cleared away."""
    making = place.with_name(f".{place.name}.making")
    if making.exists():
        procs.remove_tree(making)
    return making


def _settle_in(root: Path, host: str) -> None:
    """Make a bare Debian tree this host's own: its name, its page, and entries of every awkward kind."""
    (root / "etc/hostname").write_text(host + "\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {host}\n")
    (root / "var/www/html/index.html").write_text(f"<h1>{host} is up</h1>\n")
    corner = root / "srv/awkward"
    if corner.exists():
        procs.remove_tree(corner)
    corner.mkdir(parents=True)
    awkward.grow(corner)


def _server(host: str, root: Path) -> Source:
    return Source(host, root, f"Debian {SUITE} with systemd and nginx", probe=PROBE, ours=True)


def _as_it_is(host: str, tree: Path) -> Source:
    exclude = tuple(_unreadable(tree))
    return Source(host, tree, f"{tree} as it is", exclude=exclude, whole_system=False)


def _parts_of_this_machine(host: str) -> Source:
    parts = tuple(part for part in PARTS[host] if Path(part).is_dir())
    unreadable = [path for part in parts for path in _unreadable(Path(part), below=Path("/"))]
    return Source(host, Path("/"), f"this machine's {', '.join(parts)}", include=parts, exclude=tuple(unreadable))


def _unreadable(tree: Path, below: Path | None = None) -> Iterator[str]:
    """Paths under `tree` that this user cannot read, written as from `below` (default: the tree itself)."""
    base = below or tree
    for directory, names, files in os.walk(tree):
        here = Path(directory)
        closed = [name for name in names if not os.access(here / name, os.R_OK | os.X_OK)]
        for name in closed:
            names.remove(name)
        for name in closed + [name for name in files if not _can_read(here / name)]:
            yield f"/{(here / name).relative_to(base)}"


def _can_read(path: Path) -> bool:
    return path.is_symlink() or os.access(path, os.R_OK)
