"""What goes across the internet is compressed, unless its operator says otherwise."""

import pytest

from ebbtide_agent.host.compression import words

ELSEWHERE = ["8.8.8.8", "2606:4700::1111"]
OUR_OWN = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.7",
    "172.16.9.9",
    "100.64.0.1",
    "169.254.1.1",
    "::1",
    "fd00::1",
    "fe80::1%eth0",
]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_across_the_internet_it_is_by_itself(address: str) -> None:
    assert words("auto", address) == ("--compress",)


@pytest.mark.parametrize("address", OUR_OWN)
def test_in_a_network_of_ones_own_it_is_not(address: str) -> None:
    assert words("auto", address) == ()


@pytest.mark.parametrize("address", [*ELSEWHERE, *OUR_OWN])
def test_whoever_says_so_decides(address: str) -> None:
    assert (words("yes", address), words("no", address)) == (("--compress",), ())
