"""Where systemd is the first process of a machine, an image is booted within its walls; elsewhere there are none."""

from pathlib import Path

import pytest

from ebbtide_agent.restore.boot_image import WALLED, walls


@pytest.mark.parametrize(
    ("known", "more"), [("--description=TEXT", ()), ("--expand-environment=BOOL", ("--expand-environment=no",))]
)
def test_an_image_is_walled_in_where_systemd_can_do_it_and_no_version_of_it_rewrites_what_starts_it(
    known: str, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "systemd-run"
    program.write_text(f"#!/bin/sh\necho '  {known}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert walls(tmp_path) == (WALLED[0], *more, *WALLED[1:])
    assert walls(tmp_path / "not-there") == ()


def test_what_an_image_may_open_is_what_a_container_needs_and_the_scope_is_its_own_to_divide() -> None:
    properties = [word.removeprefix("--property=") for word in WALLED if word.startswith("--property=")]

    confined = ["Delegate=yes", "DevicePolicy=closed", "DeviceAllow=char-pts rw"]
    assert properties == [*confined, "CPUWeight=10000", "IOWeight=10000"]
    assert (WALLED[0], WALLED[-1], "--scope" in WALLED) == ("systemd-run", "--", True)
