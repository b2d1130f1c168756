"""The configuration: every section and key of `config.toml`, typed, with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Transport = Literal["udp", "tcp", "tls"]
CodecName = Literal["PCMU", "PCMA", "opus", "G722"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Http(Section):
    bind: str = "127.0.0.1"
    port: int = 8080
    cors_origins: list[str] = msgspec.field(default_factory=list)
    tls_cert: str = ""
    tls_key: str = ""


class WebRtc(Section):
    bind: str = "0.0.0.0"
    port: int = 10000
    announced_ips: list[str] = msgspec.field(default_factory=list)
    ice: Literal["lite", "full"] = "lite"
    stun_server: str = ""
    turn_server: str = ""
    turn_username: str = ""
    turn_credential: str = ""


class IceServer(Section):
    urls: list[str]
    username: str = ""
    credential: str = ""


class Media(Section):
    rtp_bind: str = "0.0.0.0"
    rtp_port_range: tuple[int, int] = (20000, 29999)
    codecs: list[CodecName] = msgspec.field(default_factory=lambda: ["PCMU", "PCMA", "opus", "G722"])
    workers: int = 1
    recordings_dir: str = "recordings"
    sounds_dir: str = "sounds"


class Sip(Section):
    bind: str = "0.0.0.0"
    port: int = 5070
    transports: list[Transport] = msgspec.field(default_factory=lambda: ["udp", "tcp"])
    announced_ip: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""


class Trunk(Section):
    name: str
    server: str
    transport: Transport = "udp"
    username: str = ""
    password: str = ""
    password_file: str = ""
    password_env: str = ""
    register: bool = False
    allow_ips: list[str] = msgspec.field(default_factory=list)
    from_domain: str = ""
    outbound_proxy: str = ""
    codecs: list[CodecName] = msgspec.field(default_factory=list)
    srtp: Literal["off", "optional", "required"] = "off"
    dtmf: Literal["rfc4733", "info", "inband"] = "rfc4733"
    rtp_learning: Literal["sdp", "first_packet"] = "sdp"
    max_calls: int = 0


class Routing(Section):
    default: str = "echo"


class Route(Section):
    match: str
    trunk: str
    strip: int = 0
    prefix: str = ""


class Dn(Section):
    number: str
    password_hash: str


class Turn(Section):
    urls: list[str] = msgspec.field(default_factory=list)
    secret: str = ""
    ttl_s: int = 600


class ApiKey(Section):
    """`sha256`: the hex digest of the key, as `sdpserver hash-key` prints it."""

    name: str
    sha256: str
    scopes: list[str] = msgspec.field(default_factory=lambda: ["session", "call"])


class Auth(Section):
    mode: Literal["none", "api_key", "jwt"] = "none"
    api_keys: list[ApiKey] = msgspec.field(default_factory=list)


class Records(Section):
    url: str = "sqlite:///sdpserver.db"


class Session(Section):
    reattach_s: float = 30
    resume_s: float = 0.8
    setup_timeout_s: float = 30
    media_timeout_s: float = 60
    max_duration_s: float = 14400
    linger_s: float = 60
    max_sessions: int = 2000


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section):
    """All of it. `path` is the file it came from, if any."""

    http: Http = msgspec.field(default_factory=Http)
    webrtc: WebRtc = msgspec.field(default_factory=WebRtc)
    ice_servers: list[IceServer] = msgspec.field(default_factory=list)
    media: Media = msgspec.field(default_factory=Media)
    sip: Sip = msgspec.field(default_factory=Sip)
    trunks: list[Trunk] = msgspec.field(default_factory=list)
    routing: Routing = msgspec.field(default_factory=Routing)
    routes: list[Route] = msgspec.field(default_factory=list)
    dn: list[Dn] = msgspec.field(default_factory=list)
    turn: Turn = msgspec.field(default_factory=Turn)
    auth: Auth = msgspec.field(default_factory=Auth)
    records: Records = msgspec.field(default_factory=Records)
    session: Session = msgspec.field(default_factory=Session)
    log: Log = msgspec.field(default_factory=Log)


def load(path: Path | None = None, environ: dict[str, str] | None = None) -> Config:
    """Read the file and the environment. Replaced by the real loader."""
    raise NotImplementedError
