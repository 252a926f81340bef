"""Build the agent into one executable file, the same bytes from the same sources: `build_agent.py OUTPUT`."""

import sys
import zipfile
from pathlib import Path

AGENT = Path(__file__).resolve().parents[1] / "agent"
PACKAGE = AGENT / "ebbtide_agent"
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "import sys\n\nfrom ebbtide_agent.__main__ import main\n\nsys.exit(main())\n"
# The earliest time a zip file can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)


def build(output: Path) -> None:
    """Write the archive next to its place and move it there, so that nobody runs half of one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    making = output.with_name(f".{output.name}.new")
    with making.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for source in sorted(PACKAGE.rglob("*.py")):
                _add(archive, source.relative_to(AGENT).as_posix(), source.read_bytes())
            _add(archive, "__main__.py", MAIN.encode())
    making.chmod(0o755)
    making.replace(output)


def _add(archive: zipfile.ZipFile, name: str, body: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, body)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    build(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
