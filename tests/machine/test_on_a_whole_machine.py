"""Tests that another kernel may make us skip, in a virtual machine whose kernel has everything that they need."""

import re
import shlex
from pathlib import Path

from ebbtide_console.sandbox.enclosure import MODULE, UNSHARE
from tests.copies import a_copy
from tests.debian import KEPT, OUR_TESTS, ROOT
from tests.machine.virtual import a_disk, a_machine, as_a_disk

# Control groups of the second kind with memory to divide, and ext4's quotas.
TESTS = (
    "tests/attack/test_memory.py::test_who_fills_the_memory_ends_alone",
    "tests/local/test_quotas.py::test_a_host_at_its_quota_fails_alone_and_a_full_volume_still_takes_what_is_recorded[ext4]",
    "tests/unit/agent/test_quota_projects.py::test_a_project_holds_no_more_than_its_quota_and_its_neighbour_does_not_notice",
    "tests/unit/agent/test_quota_projects.py::test_whatever_a_host_fills_a_volume_with_counts",
)
# It is itself the image that receivers are launched from.
PREPARE = f"""
mkdir /srv/tests && mount /dev/vdb /srv/tests && cd /srv/tests
mkdir -p {KEPT.relative_to(ROOT)} && ln -s / {KEPT.relative_to(ROOT)}/debian-instance
"""
# In an enclosure: to make one themselves tests want all that a whole night of the sandbox takes.
ENCLOSED = shlex.join((*UNSHARE, "python3", "-c", f"import sys; from {MODULE} import main; main(sys.argv[1:])"))
PYTEST = f"cd /srv/tests && PYTHONPATH=/{OUR_TESTS} {ENCLOSED} python3 -m pytest -q --color=no -p no:cacheprovider"


def test_what_needs_a_kernel_with_all_of_its_control_groups_and_quotas_passes_on_one(
    tree: Path, tmp_path: Path
) -> None:
    ours = a_disk(a_copy(tmp_path / "copy"), tmp_path / "ours")
    with a_machine(tree, tmp_path, as_a_disk(ours)) as machine:
        machine.run(PREPARE)

        said = machine.run(f"{PYTEST} {' '.join(TESTS)}")

    print(said)
    assert re.search(rf"^{len(TESTS)} passed in ", said, re.MULTILINE), said
