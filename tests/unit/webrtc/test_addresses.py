from __future__ import annotations

import ipaddress

import ifaddr
import pytest

from sdpserver.config import WebRtc
from sdpserver.webrtc.addresses import MAX_ADDRESSES, REFRESH_S, AnnouncedAddresses


def current(config: WebRtc) -> tuple[str, ...]:
    return AnnouncedAddresses(config, lambda: 0.0).current()


def test_announced_addresses_are_taken_as_they_are() -> None:
    assert current(WebRtc(announced_ips=["198.51.100.7", "2001:db8::7"])) == ("198.51.100.7", "2001:db8::7")


@pytest.mark.parametrize("bind", ["127.0.0.1", "192.0.2.1", "::1"])
def test_bound_to_one_address_it_is_that_one(bind: str) -> None:
    assert current(WebRtc(bind=bind)) == (bind,)


@pytest.mark.parametrize(("bind", "last"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_bound_to_all_loopback_comes_last(bind: str, last: str) -> None:
    found = current(WebRtc(bind=bind))
    assert found[-1] == last
    assert len(found) == len(set(found)) <= MAX_ADDRESSES
    loopback = [ipaddress.ip_address(address).is_loopback for address in found]
    assert loopback == sorted(loopback)
    if bind == "0.0.0.0":
        assert not any(":" in address for address in found)


def test_interfaces_are_looked_at_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces = ["192.0.2.1"]

    def adapters() -> list[ifaddr.Adapter]:
        return [ifaddr.Adapter("eth", "eth", [ifaddr.IP(ip, 24, "eth") for ip in interfaces])]

    monkeypatch.setattr(ifaddr, "get_adapters", adapters)
    now = 100.0
    announced = AnnouncedAddresses(WebRtc(bind="0.0.0.0"), lambda: now)
    assert announced.current() == ("192.0.2.1", "127.0.0.1")
    interfaces = ["192.0.2.2"]
    assert announced.current() == ("192.0.2.1", "127.0.0.1")
    now += REFRESH_S + 1
    assert announced.current() == ("192.0.2.2", "127.0.0.1")
