"""The configuration: every section and key of `config.toml`, typed, with its default.

`config_loader.load` reads it from the file and the environment, `config_checks` says what is wrong with it.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Transport = Literal["udp", "tcp", "tls"]
CodecName = Literal["PCMU", "PCMA", "opus", "G722"]
AccessScope = Literal["session", "call", "dn", "supervise", "admin"]
"""What a key of `[[auth.api_keys]]` may be for."""

SECRET_KEYS = frozenset(
    {"password", "password_hash", "secret", "sha256", "credential", "turn_credential", "token", "jwt_secret"}
)
"""Keys whose values are shown nowhere: not in a message, not in a log, not in a repr."""


def without_password(url: str) -> str:
    """A database's URL as it may be shown."""
    shown = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", shown)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""

    def __repr__(self) -> str:
        shown = (
            f"{name}=***" if name in SECRET_KEYS and getattr(self, name) else f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Http(Section, frozen=True):
    """`server_names`: the names by which clients reach the server, beside localhost and IP addresses."""

    bind: str = "127.0.0.1"
    port: int = 8080
    server_names: list[str] = msgspec.field(default_factory=list)
    cors_origins: list[str] = msgspec.field(default_factory=list)
    tls_cert: str = ""
    tls_key: str = ""


class WebRtc(Section, frozen=True):
    bind: str = "0.0.0.0"
    port: int = 10000
    announced_ips: list[str] = msgspec.field(default_factory=list)
    ice: Literal["lite", "full"] = "lite"
    stun_server: str = ""
    turn_server: str = ""
    turn_username: str = ""
    turn_credential: str = ""


class IceServer(Section, frozen=True):
    urls: list[str]
    username: str = ""
    credential: str = ""


class IceService(Section, frozen=True):
    """A service that hands out ICE servers; asked once a token is set, in the form of RestSend's `/api/iceservers`."""

    url: str = "https://restsend.com/api/iceservers"
    token: str = ""


class Media(Section, frozen=True):
    rtp_bind: str = "0.0.0.0"
    rtp_port_range: tuple[int, int] = (20000, 29999)
    codecs: list[CodecName] = msgspec.field(default_factory=lambda: ["PCMU", "PCMA", "opus", "G722"])
    workers: int = 1
    tones: str = ""
    io: Literal["auto", "epoll", "io_uring"] = "auto"
    gather_ms: float = 1.0
    opus_bitrate_bps: int = 16000
    opus_complexity: int = 3
    opus_dtx: bool = False
    jitter_buffer_ms: tuple[int, int] = (20, 200)
    recordings_dir: str = "recordings"
    record_tone: bool = False
    sounds_dir: str = "sounds"
    dtmf_inband_detection: bool = False
    comfort_noise: bool = False
    sounds_cache_mb: int = 64
    hold_music: str = ""


class Conference(Section, frozen=True):
    """`rate_hz`: of the mix. 8000 is enough where everybody speaks G.711, and costs half."""

    rate_hz: Literal[8000, 16000] = 16000
    max_rooms: int = 100
    max_members: int = 50


class Sip(Section, frozen=True):
    """`trace`: the messages of calls are kept while the calls can be asked for; `trace_messages` and `trace_kb` are of
    one dialog, `trace_mb` of all.
    """

    bind: str = "0.0.0.0"
    port: int = 5070
    transports: list[Transport] = msgspec.field(default_factory=lambda: ["udp", "tcp"])
    announced_ip: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    trace: bool = True
    trace_messages: int = 200
    trace_kb: int = 128
    trace_mb: int = 64


class Trunk(Section, frozen=True):
    """`agent_registrar`: agents whose number is no `[[dn]]` register here, with the password that they give;
    `also_register` names another trunk on which the same DNs are registered too.
    """

    name: str
    server: str
    transport: Transport = "udp"
    username: str = ""
    password: str = ""
    password_file: str = ""
    password_env: str = ""
    register: bool = False
    agent_registrar: bool = False
    also_register: str = ""
    allow_ips: list[str] = msgspec.field(default_factory=list)
    from_domain: str = ""
    outbound_proxy: str = ""
    codecs: list[CodecName] = msgspec.field(default_factory=list)
    srtp: Literal["off", "optional", "required"] = "off"
    dtmf: Literal["rfc4733", "info", "inband"] = "rfc4733"
    rtp_learning: Literal["sdp", "first_packet"] = "sdp"
    tones: str = ""
    max_calls: int = 0
    options_interval_s: int = 60


class Routing(Section, frozen=True):
    default: str = "echo"


class Route(Section, frozen=True):
    match: str
    trunk: str
    strip: int = 0
    prefix: str = ""


class Dn(Section, frozen=True):
    """A DN that is registered here and nowhere else. `password_hash`: as `sdpserver hash-password` prints it."""

    number: str
    password_hash: str
    display_name: str = ""
    skills: list[str] = msgspec.field(default_factory=list)


class Turn(Section, frozen=True):
    urls: list[str] = msgspec.field(default_factory=list)
    secret: str = ""
    ttl_s: int = 600


class ApiKey(Section, frozen=True):
    """`sha256`: the hex digest of the key, as `sdpserver hash-key` prints it."""

    name: str
    sha256: str
    scopes: list[str] = msgspec.field(default_factory=lambda: ["session", "call"])


class Auth(Section, frozen=True):
    mode: Literal["none", "api_key", "jwt"] = "none"
    api_keys: list[ApiKey] = msgspec.field(default_factory=list)
    jwt_secret: str = ""


class Records(Section, frozen=True):
    """`url`: empty for no call records. `instance`: the server's name in them, by default of its host and HTTP port.
    `keep_days` 0: for ever. `spill_dir`: for the file of what cannot be written before the server has to end.
    """

    url: str = "sqlite:///sdpserver.db"
    instance: str = ""
    keep_days: int = 0
    spill_dir: str = "."

    def __repr__(self) -> str:
        return super().__repr__().replace(repr(self.url), repr(without_password(self.url)))


class Session(Section, frozen=True):
    """`ring_timeout_s`: of calls from trunks to a DN. `ws_idle_s`: how long a client of /ws may say nothing."""

    ring_timeout_s: float = 60
    reattach_s: float = 30
    ws_idle_s: float = 60
    resume_s: float = 0.8
    setup_timeout_s: float = 30
    media_timeout_s: float = 60
    max_duration_s: float = 14400
    linger_s: float = 60
    max_sessions: int = 2000


class Log(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section, frozen=True):
    """All of it."""

    http: Http = msgspec.field(default_factory=Http)
    webrtc: WebRtc = msgspec.field(default_factory=WebRtc)
    ice_servers: list[IceServer] = msgspec.field(default_factory=list)
    ice_service: IceService = msgspec.field(default_factory=IceService)
    media: Media = msgspec.field(default_factory=Media)
    conference: Conference = msgspec.field(default_factory=Conference)
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
