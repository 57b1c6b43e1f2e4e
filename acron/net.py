"""Which hosts may be asked: a URL that a job names must not reach into the machine's own network.

The address is checked where the connection is made, and not before: a name that means one
address when it is looked at may mean another a moment later. So names are looked up by a resolver
that refuses, and the socket of each connection is made behind one more door: a literal address
asks no resolver.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.abc import AbstractResolver
    from yarl import URL

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Addresses of IPv6 in which one of IPv4 is hidden (NAT64); the others Python knows.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: For a ``Guard`` that lets everything pass.
ANYWHERE = ("0.0.0.0/0", "::/0")


class BadUrl(ValueError):
    """What cannot be asked at all."""


class PrivateAddress(OSError):
    """A host whose address is none of the public internet's."""


class Guard:
    """Lets public addresses pass, and those in ``allowed``: networks (``10.0.0.0/8``), addresses
    and names of hosts. Raises ValueError for what is none of these."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._networks: list[_Network] = []
        self._hosts: set[str] = set()
        self._theirs: set[str] = set()  # addresses that the hosts in ``_hosts`` were found at
        for one in allowed:
            try:
                self._networks.append(ipaddress.ip_network(one, strict=False))
            except ValueError:
                if "/" in one or not one.replace("-", "").replace(".", "").isalnum():
                    raise
                self._hosts.add(one.lower())

    def checked_url(self, url: str | URL) -> URL:
        """``url`` as aiohttp reads it: two readers may differ about what the host is.

        Raises BadUrl for what is no http(s) URL, PrivateAddress for an address that must not be
        asked. A name's address is seen when it is connected to.
        """
        from yarl import URL  # noqa: PLC0415 (comes with aiohttp)

        try:
            found = URL(url)
        except ValueError as error:
            raise BadUrl("it is no URL") from error
        if found.scheme not in {"http", "https"} or not found.host:
            raise BadUrl("a URL begins with http:// or https://, and a host")
        try:
            ipaddress.ip_address(found.host)
        except ValueError:
            return found
        self.check(found.host, found.host)
        return found

    def check(self, host: str, address: str) -> None:
        """Raise PrivateAddress unless ``host``, found at ``address``, may be asked."""
        if self._open(address):
            return
        if host.lower() not in self._hosts:
            where = f"{one_line(host, 100)} is at {one_line(address, 100)}"
            raise PrivateAddress(f"{where}, which is not public")
        self._theirs.add(address)

    def _open(self, address: str) -> bool:
        """Whether an address is public or in an allowed network, and so is one that it hides."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False  # such as 127.1, which the system would understand
        if isinstance(found, ipaddress.IPv6Address):
            inner = found.ipv4_mapped or found.sixtofour
            if found in _NAT64:
                inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
            found = inner or found
        if found.is_global and not found.is_multicast:
            return True
        return any(found in one for one in self._networks)

    def _door(self, info: Any) -> socket.socket:
        """A socket for what is about to be connected to, whichever way it was found."""
        family, kind, proto, _, (address, *_) = info
        if address not in self._theirs:
            self.check("it", address)
        return socket.socket(family, kind, proto)

    def connector(self, names: AbstractResolver | None = None) -> Any:
        """For an ``aiohttp.ClientSession``: looks names up (by ``names``, when given), and lets
        no private address pass."""
        import aiohttp  # noqa: PLC0415 (an extra)
        from aiohttp.abc import AbstractResolver  # noqa: PLC0415

        guard = self
        inner = names or aiohttp.ThreadedResolver()

        class Resolver(AbstractResolver):
            async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
                found = await inner.resolve(host, port, family)
                for one in found:  # a host with any private address has none at all
                    guard.check(host, one["host"])
                return found

            async def close(self) -> None:
                await inner.close()

        return aiohttp.TCPConnector(
            resolver=Resolver(), use_dns_cache=False, socket_factory=self._door
        )
