"""Build the agent into one executable file, the same bytes from the same sources: `build_agent.py WHOSE OUTPUT`.

WHOSE is `hosts` or `machines`: a host gets its own commands and what they import, a machine of ours gets everything.
"""

import sys
import zipfile
from collections.abc import Iterable
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

AGENT = Path(__file__).resolve().parents[1] / "agent"
PACKAGE = AGENT / "ebbtide_agent"
# What comes first when the machine is not known. Debian says where its Python is.
ANY_PYTHON = "/usr/bin/env python3"
DEBIANS_PYTHON = "/usr/bin/python3"
MAIN = "import sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
# The earliest time a zip file can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)


def build(output: Path) -> None:
    """The file that receivers and recoveries fetch."""
    _write(output, "ebbtide_agent.__main__", PACKAGE.rglob("*.py"), ANY_PYTHON)


def build_for_hosts(output: Path, python: str = ANY_PYTHON) -> None:
    """The file that goes onto hosts."""
    entry = "ebbtide_agent.host_main"
    _write(output, entry, imported_from(entry), python)


def imported_from(module: str) -> list[Path]:
    """The files of ours that a module needs, lazily imported ones too, with its own."""
    finder = ModuleFinder(path=[str(AGENT)])
    finder.import_hook(module)
    found: dict[str, Any] = finder.modules
    return [Path(each.__file__) for each in found.values() if each.__file__]


def _write(output: Path, module: str, sources: Iterable[Path], python: str) -> None:
    """Write the archive next to its place and move it there, so that nobody runs half of one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    making = output.with_name(f".{output.name}.new")
    with making.open("wb") as file:
        file.write(f"#!{python}\n".encode())
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for source in sorted(sources):
                _add(archive, source.relative_to(AGENT).as_posix(), source.read_bytes())
            _add(archive, "__main__.py", MAIN.format(module=module).encode())
    making.chmod(0o755)
    making.replace(output)


def _add(archive: zipfile.ZipFile, name: str, body: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, body)


BUILDS = {"hosts": build_for_hosts, "machines": build}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in BUILDS:
        print(__doc__, file=sys.stderr)
        return 2
    BUILDS[arguments[0]](Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
