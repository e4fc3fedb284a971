"""Which addresses requests may be sent to: public ones, and networks that a setting allows.

Whoever may create a subscription could otherwise have requests sent into the network of the
deployment, to the metadata service of a cloud, or to this machine. A name is resolved once, and the
connection is made to the very address that was checked, so that a name whose answers change
(DNS rebinding) gains nothing.
"""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Networks whose addresses have an IPv4 address in their last bits (NAT64, IPv4-compatible).
_WITH_IPV4: Final = (
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0:0/96"),
)
_REFUSED: Final = (
    IPv6Network("fec0::/10"),
    IPv4Network("0.0.0.0/8"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("168.63.129.16/32"),  # public, but in Azure it is the host of the machine
)


def read_networks(text: str) -> list[Network]:
    """Return the networks of a setting; raises `ValueError`."""
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]


def refused(addresses: Iterable[str], allowed: Sequence[Network]) -> str:
    """Return the first address that no request may be sent to; empty if there is none."""
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        if not all(_may_reach(one, allowed) for one in _meanings(address)):
            return text
    return ""


def _meanings(address: Address) -> list[Address]:
    """Return an address, or the IPv4 addresses that it stands for."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    found: list[Address] = [address]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    if any(address in network for network in _WITH_IPV4):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _may_reach(address: Address, allowed: Sequence[Network]) -> bool:
    if any(address in network for network in allowed if network.version == address.version):
        return True
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in one for one in _REFUSED if one.version == address.version)
    )
