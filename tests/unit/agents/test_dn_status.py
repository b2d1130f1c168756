"""What a supervisor is told of a DN."""

from __future__ import annotations

import itertools

import pytest

from sdpserver.agents.directory import Dn, status_of
from sdpserver.models.dns import DnStatus


@pytest.mark.parametrize(
    ("is_connected", "is_talking", "is_reachable", "status"),
    [
        (True, False, True, "available"),
        (True, False, False, "offline"),
        (True, True, True, "busy"),
        (True, True, False, "busy"),  # its call goes on
        (False, False, True, "offline"),
        (False, False, False, "offline"),
    ],
)
def test_a_status_is_of_the_clients_their_calls_and_the_registration(
    is_connected: bool, is_talking: bool, is_reachable: bool, status: DnStatus
) -> None:
    assert status_of(is_connected=is_connected, is_talking=is_talking, is_reachable=is_reachable) == status


def test_a_dn_without_clients_is_offline_wherever_it_is_registered() -> None:
    told: list[Dn] = []
    for is_upstream, is_reachable in itertools.product((False, True), repeat=2):
        dn = Dn("1002", upstream=is_upstream, is_reachable=lambda _, it=is_reachable: it, on_status=told.append)  # type: ignore[misc]
        dn.check_status()
        assert (dn.status, dn.describe()["since"]) == ("offline", None)
    assert told == []
