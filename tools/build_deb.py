"""Build the host's agent as a Debian package, the same bytes from the same sources: `build_deb.py DIRECTORY`."""

import gzip
import hashlib
import os
import sys
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from ebbtide_agent import VERSION, keys
from ebbtide_agent.host import removal, schedule, starting
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.peer import unit
from ebbtide_console.procs import check
from tools.build_agent import AGENT, DEBIANS_PYTHON, EPOCH, build_for_hosts
from tools.manual import command_line, completion, page

DEBIAN = AGENT / "debian"
EXAMPLES = AGENT / "examples"
MADE = datetime(*EPOCH, tzinfo=UTC)
PROGRAM = "/usr/bin/ebbtide-agent"
SCRIPTS = ("postinst", "prerm", "postrm")
HOST = HostPaths()
# Whoever is not root has no business in the first two.
DIRECTORIES = {HOST.secrets: 0o700, HOST.state: 0o700, HOST.scripts: 0o755}


def build(directory: Path) -> Path:
    """Write the package below `directory` and return it."""
    output = directory / f"ebbtide-agent_{VERSION}_all.deb"
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        _fill(root)
        _describe(root)
        _level(root)
        when = f"SOURCE_DATE_EPOCH={int(MADE.timestamp())}"
        check(("env", when, "dpkg-deb", "--root-owner-group", "-Zxz", "--build", place, str(output)))
    return output


def made() -> tuple[Path, ...]:
    """What the agent makes on a host, file by file: what a purge removes."""
    timer = HOST.timer
    started = (HOST.cron, timer, starting.wanted(timer), HOST.service, starting.STAMP)
    return (*started, *HOST.kept, *removal.written(HOST), *_of_a_peer())


def _of_a_peer() -> tuple[Path, ...]:
    """Never its store: that is others' backups."""
    service, key = HOST.peer_service, HOST.peer_key
    notes = PeerPaths(HOST.state, Path("/")).run
    return (service, unit.wanted(service), HOST.peer, key, keys.public_of(key), notes)


def _fill(root: Path) -> None:
    top, doc = command_line(), root / "usr/share/doc/ebbtide-agent"
    build_for_hosts(root / PROGRAM[1:], DEBIANS_PYTHON)
    _write(root / starting.PACKAGED_SERVICE.relative_to("/"), schedule.service(PROGRAM))
    _write_packed(root / "usr/share/man/man1/ebbtide-agent.1.gz", page(top))
    _write(root / "usr/share/bash-completion/completions/ebbtide-agent", completion(top, "bash"))
    _write(root / "usr/share/zsh/vendor-completions/_ebbtide-agent", completion(top, "zsh"))
    _write(doc / "copyright", _filled_in("copyright"))
    _write(root / "usr/share/lintian/overrides/ebbtide-agent", _filled_in("lintian-overrides"))
    _write_packed(doc / "changelog.gz", _filled_in("changelog"))
    for example in sorted((*DEBIAN.glob("examples/*"), *EXAMPLES.glob("*"))):
        _write(doc / "examples" / example.name, example.read_text(), 0o755 if os.access(example, os.X_OK) else 0o644)
    for path in DIRECTORIES:
        (root / path.relative_to("/")).mkdir(parents=True)


def _describe(root: Path) -> None:
    """The part that dpkg itself reads."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    kibibytes = sum(-(-path.stat().st_size // 1024) for path in files)
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)
    _write(root / "DEBIAN/control", _filled_in("control", SIZE=str(kibibytes)))
    _write(root / "DEBIAN/md5sums", sums)
    names = {"MADE": made(), "DIRECTORIES": (HOST.secrets, *HOST.lent, HOST.state)}
    words = {name: " ".join(map(str, paths)) for name, paths in names.items()}
    for script in SCRIPTS:
        _write(root / "DEBIAN" / script, _filled_in(script, **words), 0o755)


def _filled_in(name: str, **words: str) -> str:
    text = (DEBIAN / name).read_text()
    for word, meaning in {"VERSION": VERSION, "DATE": format_datetime(MADE), **words}.items():
        text = text.replace(f"@{word}@", meaning)
    return text


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _write_packed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    path.chmod(0o644)


def _level(root: Path) -> None:
    """Whoever builds it, and when, does not show."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(DIRECTORIES.get("/" / path.relative_to(root), 0o755))
        os.utime(path, (MADE.timestamp(), MADE.timestamp()))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    print(build(Path(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
