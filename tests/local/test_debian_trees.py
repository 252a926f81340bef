"""The Debian trees that other files use; they are made here, before and beside the tests that would wait for them."""

import os

import pytest

from tests.debian import a_machine_image, a_server

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="a Debian tree with its own owners needs root"),
]


def test_a_host_is_a_debian_12_with_a_web_server() -> None:
    server = a_server()

    assert (server / "etc/debian_version").read_text().startswith("12.")
    assert (server / "usr/sbin/nginx").exists()


def test_a_machine_of_ours_is_a_debian_13_with_cloud_init_and_what_a_receiver_needs() -> None:
    image = a_machine_image()

    assert (image / "etc/debian_version").read_text().startswith("13.")
    assert [name for name in ("cloud-init", "bwrap", "sshd", "rsync") if not any(image.glob(f"usr/*bin/{name}"))] == []
