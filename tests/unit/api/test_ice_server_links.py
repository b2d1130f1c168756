from __future__ import annotations

import pytest

from sdpserver.api.whip_routes import ice_server_links
from sdpserver.models.webrtc import IceServerInfo


def test_credentials_are_quoted() -> None:
    server = IceServerInfo(urls=["turn:a"], username='1:a"b\\c', credential="p;q, r=")
    assert ice_server_links([server]) == [
        r'<turn:a>; rel="ice-server"; username="1:a\"b\\c"; credential="p;q, r="; credential-type="password"'
    ]


@pytest.mark.parametrize(
    "server",
    [
        IceServerInfo(urls=["stun:a>\r\nset-cookie: b"]),
        IceServerInfo(urls=["stun:ä"]),
        IceServerInfo(urls=["turn:a"], username="ü", credential="c"),
        IceServerInfo(urls=["turn:a"], username="u", credential="c\r\nx: y"),
    ],
)
def test_what_a_header_cannot_have_is_left_out(server: IceServerInfo) -> None:
    assert ice_server_links([server, IceServerInfo(urls=["stun:b"])]) == ['<stun:b>; rel="ice-server"']
