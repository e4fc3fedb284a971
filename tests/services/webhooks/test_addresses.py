"""Requests reach public addresses, and others only where a setting allows it."""

import pytest

from services.webhooks.addresses import read_networks, refused

PRIVATE = [
    *("127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("0.0.0.0", "100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
    *("fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1"),
    *("168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::168.63.129.16"),
    *("::ffff:0:127.0.0.1", "2001:db8::1", "2001:0:7f00:1::"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert refused([address], []) == address


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_a_public_address_is_reached(address: str) -> None:
    assert refused([address], []) == ""


def test_one_private_address_among_public_ones_is_enough_to_refuse_a_host() -> None:
    assert refused(["1.1.1.1", "10.0.0.1"], []) == "10.0.0.1"


def test_a_setting_allows_networks_and_no_others() -> None:
    allowed = read_networks("127.0.0.0/8, fd00::/8")
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::5"):
        assert refused([address], allowed) == ""
    for address in ("10.0.0.1", "169.254.169.254", "::1"):
        assert refused([address], allowed) == address
