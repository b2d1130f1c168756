"""The addresses that our candidates announce."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import ifaddr

from sdpserver.config import WebRtc

REFRESH_S = 10.0
MAX_ADDRESSES = 8


class AnnouncedAddresses:
    """`webrtc.announced_ips`, else what `webrtc.bind` stands for.

    Bound to all addresses, those of the interfaces come first. Loopback comes last, for a client on this machine that
    is itself bound to it; to any other client it is one more check without an answer, and its lowest priority keeps it
    from being waited for.
    """

    def __init__(self, config: WebRtc, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._found: tuple[str, ...] = ()
        self._looked_at_s = 0.0

    def current(self) -> tuple[str, ...]:
        """The preferred one first; looked up anew every `REFRESH_S`, since interfaces come and go."""
        if self._config.announced_ips:
            return tuple(self._config.announced_ips)
        bind = ipaddress.ip_address(self._config.bind)
        if not bind.is_unspecified:
            return (str(bind),)
        now = self._clock()
        if not self._found or now - self._looked_at_s > REFRESH_S:
            self._found = _interface_addresses(with_ipv6=bind.version == 6)
            self._looked_at_s = now
        return self._found


def _interface_addresses(*, with_ipv6: bool) -> tuple[str, ...]:
    texts = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    found = [ipaddress.ip_address(text) for text in texts]
    usable = [
        str(address)
        for address in found
        if not (address.is_loopback or address.is_link_local) and (with_ipv6 or address.version == 4)
    ]
    loopback = ["127.0.0.1", "::1"] if with_ipv6 else ["127.0.0.1"]
    return (*dict.fromkeys(usable[: MAX_ADDRESSES - len(loopback)]), *loopback)
