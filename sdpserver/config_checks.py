"""What can be wrong with a configuration whose every key has the right type. One function for each section."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from .config import AccessScope, Config, Section, Trunk
from .passwords import why_no_hash
from .patterns import why_unsafe
from .sdp import AUDIO_CODECS
from .toml_lines import Path as KeyPath
from .tones import COUNTRIES

Finding = tuple[KeyPath, str]

SCOPES = get_args(AccessScope)
BUILT_IN_DESTINATIONS = ("echo", "tone", "silence")
MAX_TURN_TTL_S = 86400
MAX_DISPLAY_NAME = 128
MAX_KEEP_DAYS = 36500
MAX_ROOM_MEMBERS = 56
"""What the media plane's mixer takes."""

_TRACE_LIMITS = {"trace_messages": (32, 10_000), "trace_kb": (64, 16_384), "trace_mb": (1, 4096)}

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?)"
_HOST_PORT = re.compile(rf"{_HOST}(?::(\d{{1,5}}))?")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ORIGIN = re.compile(rf"https?://{_HOST}(?::\d{{1,5}})?")
# RFC 7064 section 3.1 and RFC 7065 section 3.1.
_STUN_URL = re.compile(rf"stuns?:{_HOST}(?::\d{{1,5}})?")
_TURN_URL = re.compile(rf"turns?:{_HOST}(?::\d{{1,5}})?(?:\?transport=(?:udp|tcp))?")


def check(config: Config) -> Iterator[Finding]:
    """Everything that is wrong, as (path of the key, what is wrong and the right form)."""
    for part in (
        _http,
        _webrtc,
        _ice_servers,
        _media,
        _conference,
        _sip,
        _trunks,
        _routes,
        _dns,
        _turn,
        _auth,
        _records,
        _session,
        _ports,
    ):
        yield from part(config)


def not_in_effect(config: Config) -> Iterator[Finding]:
    """What is accepted, so that a file for a later version starts, but does nothing in this one."""
    if config.auth.jwt_secret:
        yield ("auth", "jwt_secret"), "is not supported by this version and has no effect"


def unsafe(config: Config) -> Iterator[Finding]:
    """What is done as it says, and does not give what it seems to."""
    for index, trunk in enumerate(config.trunks):
        if trunk.srtp != "off" and trunk.transport != "tls":
            text = f'"{trunk.srtp}" without transport = "tls": the keys can be read by whoever can read the signalling'
            yield ("trunks", index, "srtp"), text


# -- forms that several sections share


def is_loopback(host: str) -> bool:
    """Whether `host`, an IP address or a name, is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(path: KeyPath, text: str, *, names: tuple[str, ...] = ()) -> Iterator[Finding]:
    if not _is_ip(text) and text not in names:
        also = "".join(f" or {name or 'empty'}" for name in names)
        yield path, f'must be an IP address{also}, not "{text}"'


def _port(path: KeyPath, port: int) -> Iterator[Finding]:
    if not 0 <= port <= 65535:
        yield path, f"must be a port from 1 to 65535, or 0 for any free one, not {port}"


def _unique(section: str, key: str, values: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            yield (section, index, key), f'"{value}" is there twice, first in entry {seen[value] + 1}'
        seen.setdefault(value, index)


def _pair(section: Section, name: str, cert: str, key: str) -> Iterator[Finding]:
    """A certificate and its key: both or none, both readable, and of each other."""
    files = {cert: getattr(section, cert), key: getattr(section, key)}
    if not any(files.values()):
        return
    missing = [part for part, file in files.items() if not file]
    if missing:
        yield (name, missing[0]), f"is missing; {cert} and {key} come as a pair"
        return
    unreadable = [finding for part, file in files.items() for finding in _file((name, part), file)]
    yield from unreadable
    if unreadable:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files[cert], files[key], password="")
    except (ssl.SSLError, OSError, ValueError):
        yield (name, cert), f"must be a PEM certificate whose unencrypted key is in {key}"


def _file(path: KeyPath, file: str) -> Iterator[Finding]:
    if not Path(file).is_file() or not os.access(file, os.R_OK):
        yield path, f'there is no readable file "{file}"'


def _country(path: KeyPath, code: str) -> Iterator[Finding]:
    if code and code not in COUNTRIES:
        yield path, f'must be empty or one of {", ".join(COUNTRIES)}, not "{code}"'


# -- sections


def _http(config: Config) -> Iterator[Finding]:
    http = config.http
    yield from _address(("http", "bind"), http.bind, names=("localhost",))
    yield from _port(("http", "port"), http.port)
    yield from _pair(http, "http", "tls_cert", "tls_key")
    for origin in http.cors_origins:
        if origin == "*":
            if config.auth.mode == "none":
                yield ("http", "cors_origins"), '"*" needs [auth]: without it any web page could make calls'
        elif not _ORIGIN.fullmatch(origin):
            yield ("http", "cors_origins"), f'must be origins such as "https://app.example.com", not "{origin}"'
    for name in http.server_names:
        if not _HOST_NAME.fullmatch(name):
            yield ("http", "server_names"), f'must be host names such as "calls.example.com", not "{name}"'
        elif config.auth.mode == "none" and name != "localhost":
            yield ("http", "server_names"), f'"{name}" needs [auth]: without it only this machine may use the server'


def _webrtc(config: Config) -> Iterator[Finding]:
    webrtc = config.webrtc
    yield from _address(("webrtc", "bind"), webrtc.bind)
    yield from _port(("webrtc", "port"), webrtc.port)
    for text in webrtc.announced_ips:
        if not _is_ip(text):
            yield ("webrtc", "announced_ips"), f'must be IP addresses, not "{text}"'
        elif (address := ipaddress.ip_address(text)).is_unspecified or address.is_multicast:
            yield ("webrtc", "announced_ips"), f"{text} is no address that a browser can send to"
    if webrtc.ice == "full":
        yield ("webrtc", "ice"), '"full" is not supported by this version; it must be "lite"'
    else:
        for key in ("stun_server", "turn_server", "turn_username", "turn_credential"):
            if getattr(webrtc, key):
                yield ("webrtc", key), 'belongs to ice = "full", which is not supported by this version; leave it out'


def _ice_servers(config: Config) -> Iterator[Finding]:
    for index, server in enumerate(config.ice_servers):
        path = ("ice_servers", index, "urls")
        if not server.urls:
            yield path, 'must have at least one URL such as "stun:stun.example.com:3478"'
        for url in server.urls:
            if _TURN_URL.fullmatch(url):
                if not (server.username and server.credential):
                    yield path, f'"{url}" needs username and credential'
            elif not _STUN_URL.fullmatch(url):
                yield path, f'must be URLs such as "stun:stun.example.com:3478", not "{url}"'
    if config.ice_service.token and not re.fullmatch(r"https?://[^\s?#]+", config.ice_service.url):
        yield ("ice_service", "url"), "must be an http or https URL without a query"


def _media(config: Config) -> Iterator[Finding]:
    media = config.media
    yield from _address(("media", "rtp_bind"), media.rtp_bind)
    first, last = media.rtp_port_range
    form = "must be [first, last] with an even first port from 1024 on and last greater than first, at most 65535"
    if not (1024 <= first < last <= 65535 and first % 2 == 0):
        yield ("media", "rtp_port_range"), f"{form}, not [{first}, {last}]"
    if not any(name in AUDIO_CODECS for name in media.codecs):
        yield ("media", "codecs"), f"must name at least one of {', '.join(AUDIO_CODECS)}"
    if not 0 <= media.workers <= 64:
        yield ("media", "workers"), f"must be from 0 to 64, not {media.workers}"
    yield from _country(("media", "tones"), media.tones)
    if not 0 <= media.gather_ms <= 5:
        yield ("media", "gather_ms"), f"must be from 0 to 5, not {media.gather_ms}"
    if not 1 <= media.sounds_cache_mb <= 4096:
        yield ("media", "sounds_cache_mb"), f"must be from 1 to 4096, not {media.sounds_cache_mb}"
    if media.hold_music:
        yield from _file(("media", "hold_music"), str(Path(media.sounds_dir) / media.hold_music))
    if not 6000 <= media.opus_bitrate_bps <= 128_000:
        yield ("media", "opus_bitrate_bps"), f"must be from 6000 to 128000, not {media.opus_bitrate_bps}"
    if not 0 <= media.opus_complexity <= 10:
        yield ("media", "opus_complexity"), f"must be from 0 to 10, not {media.opus_complexity}"
    least, most = media.jitter_buffer_ms
    if not 20 <= least <= most <= 500:
        yield ("media", "jitter_buffer_ms"), f"must be [least, most], both from 20 to 500, not [{least}, {most}]"


def _conference(config: Config) -> Iterator[Finding]:
    conference = config.conference
    if conference.max_rooms < 0:
        yield ("conference", "max_rooms"), f"must be 0 (no conferences) or more, not {conference.max_rooms}"
    if not 2 <= conference.max_members <= MAX_ROOM_MEMBERS:
        yield ("conference", "max_members"), f"must be from 2 to {MAX_ROOM_MEMBERS}, not {conference.max_members}"


def _sip(config: Config) -> Iterator[Finding]:
    sip = config.sip
    yield from _address(("sip", "bind"), sip.bind)
    yield from _port(("sip", "port"), sip.port)
    yield from _address(("sip", "announced_ip"), sip.announced_ip, names=("",))
    if not sip.transports:
        yield ("sip", "transports"), 'must name at least one of "udp", "tcp", "tls"'
    if len(set(sip.transports)) != len(sip.transports):
        yield ("sip", "transports"), "names a transport twice"
    yield from _pair(sip, "sip", "tls_cert", "tls_key")
    if "tls" in sip.transports:
        if not sip.tls_ca:
            yield ("sip", "tls_ca"), 'is missing; "tls" verifies its peers by the certificates in that file'
    elif sip.tls_ca or sip.tls_cert:
        yield ("sip", "tls_ca" if sip.tls_ca else "tls_cert"), 'has no effect while transports lacks "tls"'
    if sip.tls_ca:
        yield from _file(("sip", "tls_ca"), sip.tls_ca)
    for key, (least, most) in _TRACE_LIMITS.items():
        if not least <= getattr(sip, key) <= most:
            yield ("sip", key), f"must be from {least} to {most}, not {getattr(sip, key)}"


def _trunks(config: Config) -> Iterator[Finding]:
    yield from _unique("trunks", "name", (trunk.name for trunk in config.trunks))
    for index, trunk in enumerate(config.trunks):
        for key, text in _trunk(config, trunk):
            yield ("trunks", index, key), text
    yield from _agent_registrars(config)


def _agent_registrars(config: Config) -> Iterator[Finding]:
    first = ""
    for index, trunk in enumerate(config.trunks):
        if trunk.agent_registrar and first:
            yield ("trunks", index, "agent_registrar"), f'only one trunk may have it, and "{first}" has it already'
        elif trunk.agent_registrar:
            first = trunk.name
        other = trunk.also_register
        if not other:
            continue
        others = [each.name for each in config.trunks if each is not trunk]
        if not trunk.agent_registrar:
            yield ("trunks", index, "also_register"), "needs agent_registrar = true"
        elif other not in others:
            known = ", ".join(others) or "there is none"
            yield ("trunks", index, "also_register"), f'no other [[trunks]] has the name "{other}"; known: {known}'


def _trunk(config: Config, trunk: Trunk) -> Iterator[tuple[str, str]]:
    if not _NAME.fullmatch(trunk.name):
        yield "name", f'must be 1 to 64 of A-Z a-z 0-9 _ . -, not "{trunk.name}"'
    for key in ("server", "outbound_proxy"):
        if (text := getattr(trunk, key)) or key == "server":
            match = _HOST_PORT.fullmatch(text)
            if match is None or not 0 < int(match[1] or 5060) <= 65535:
                yield key, f'must be a host or host:port such as "10.0.0.5:5060", not "{text}"'
    if trunk.from_domain and not _HOST_PORT.fullmatch(trunk.from_domain):
        yield "from_domain", f'must be a host name, not "{trunk.from_domain}"'
    if trunk.transport not in config.sip.transports:
        yield "transport", f'"{trunk.transport}" is not among the transports of [sip]'
    passwords = [key for key in ("password", "password_file", "password_env") if getattr(trunk, key)]
    if len(passwords) > 1:
        yield passwords[1], f"{' and '.join(passwords)} are set; only one may be"
    if passwords and not trunk.username:
        yield "username", "is missing; there is a password"
    if trunk.password_file:
        yield from ((str(path[-1]), text) for path, text in _file(("password_file",), trunk.password_file))
    if trunk.password_env and trunk.password_env not in os.environ:
        yield "password_env", f"the environment has no {trunk.password_env}"
    if trunk.register and not (trunk.username and passwords):
        yield "register", "needs username and password"
    for text in trunk.allow_ips:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            yield "allow_ips", f'must be IP addresses or networks such as "10.0.0.0/24", not "{text}"'
    if trunk.codecs and not any(name in AUDIO_CODECS for name in trunk.codecs):
        yield "codecs", f"must be empty or name at least one of {', '.join(AUDIO_CODECS)}"
    yield from ((str(path[-1]), text) for path, text in _country(("tones",), trunk.tones))
    if trunk.max_calls < 0:
        yield "max_calls", f"must be 0 (no limit) or more, not {trunk.max_calls}"
    if trunk.options_interval_s < 0:
        yield "options_interval_s", f"must be 0 (never) or more, not {trunk.options_interval_s}"


def _routes(config: Config) -> Iterator[Finding]:
    names = [trunk.name for trunk in config.trunks]
    for index, route in enumerate(config.routes):
        if (why := why_unsafe(route.match)) is not None:
            yield ("routes", index, "match"), why
        if route.trunk not in names:
            known = ", ".join(names) or "there is none"
            yield ("routes", index, "trunk"), f'no [[trunks]] has the name "{route.trunk}"; known: {known}'
        if route.strip < 0:
            yield ("routes", index, "strip"), f"must be 0 or more, not {route.strip}"
        if not re.fullmatch(r"[0-9A-Za-z+*#._-]{0,64}", route.prefix):
            yield ("routes", index, "prefix"), f'must be at most 64 of 0-9 A-Z a-z + * # . _ -, not "{route.prefix}"'
    default = config.routing.default
    if default.startswith("playback/"):
        yield from _file(("routing", "default"), str(Path(config.media.sounds_dir) / default.removeprefix("playback/")))
    elif default.startswith("conference/"):
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", default.removeprefix("conference/")):
            yield ("routing", "default"), f'"{default}" must be conference/ and 1 to 64 of A-Z a-z 0-9 . _ ~ -'
    elif default not in BUILT_IN_DESTINATIONS and not any(
        why_unsafe(route.match) is None and re.search(route.match, default) for route in config.routes
    ):
        known = ", ".join(BUILT_IN_DESTINATIONS)
        yield ("routing", "default"), f'"{default}" must be one of {known}, or a number that a [[routes]] takes'


def _dns(config: Config) -> Iterator[Finding]:
    yield from _unique("dn", "number", (dn.number for dn in config.dn))
    for index, dn in enumerate(config.dn):
        if not _NAME.fullmatch(dn.number):
            yield ("dn", index, "number"), f'must be 1 to 64 of A-Z a-z 0-9 _ . -, not "{dn.number}"'
        if (why := why_no_hash(dn.password_hash)) is not None:
            yield ("dn", index, "password_hash"), f"{why}; `sdpserver hash-password` prints one"
        if len(dn.display_name) > MAX_DISPLAY_NAME or not (dn.display_name or "-").isprintable():
            yield ("dn", index, "display_name"), f"must be at most {MAX_DISPLAY_NAME} printable characters"
        for skill in dn.skills:
            if not 0 < len(skill) <= 64 or not skill.isprintable():
                yield ("dn", index, "skills"), f'must be 1 to 64 printable characters each, not "{skill}"'


def _turn(config: Config) -> Iterator[Finding]:
    turn = config.turn
    if bool(turn.urls) != bool(turn.secret):
        missing = "secret" if turn.urls else "urls"
        yield ("turn", missing), "is missing; urls and secret come as a pair"
    for url in turn.urls:
        if not _TURN_URL.fullmatch(url):
            yield ("turn", "urls"), f'must be URLs such as "turn:turn.example.com:3478?transport=udp", not "{url}"'
    if not 60 <= turn.ttl_s <= MAX_TURN_TTL_S:
        yield ("turn", "ttl_s"), f"must be from 60 to {MAX_TURN_TTL_S} seconds, not {turn.ttl_s}"


def _auth(config: Config) -> Iterator[Finding]:
    auth = config.auth
    if auth.mode == "none" and not is_loopback(config.http.bind):
        yield (
            ("auth", "mode"),
            f'"none" is only for a server bound to loopback, and [http] bind is "{config.http.bind}": '
            'set mode = "api_key" and [[auth.api_keys]], or bind = "127.0.0.1"',
        )
    if auth.mode == "jwt":
        yield ("auth", "mode"), '"jwt" is not supported by this version; it must be "none" or "api_key"'
    if auth.mode == "api_key" and not auth.api_keys:
        yield ("auth", "api_keys"), 'mode = "api_key" needs at least one [[auth.api_keys]] with name and sha256'
    if auth.mode == "none" and auth.api_keys:
        yield ("auth", "mode"), 'there are [[auth.api_keys]], so it must be "api_key"; "none" would not ask for them'
    names: set[str] = set()
    hashes: set[str] = set()
    for index, key in enumerate(auth.api_keys):
        path = ("auth", "api_keys", index)
        if not _NAME.fullmatch(key.name):
            yield (*path, "name"), f'must be 1 to 64 of A-Z a-z 0-9 _ . -, not "{key.name}"'
        if key.name in names:
            yield (*path, "name"), f'"{key.name}" is there twice'
        if not re.fullmatch(r"[0-9a-fA-F]{64}", key.sha256):
            yield (*path, "sha256"), "must be 64 hexadecimal digits, as `sdpserver hash-key` prints"
        if key.sha256.lower() in hashes:
            yield (*path, "sha256"), "is the key of another entry too"
        names.add(key.name)
        hashes.add(key.sha256.lower())
        for scope in key.scopes:
            if scope not in SCOPES:
                yield (*path, "scopes"), f'must be any of {", ".join(SCOPES)}, not "{scope}"'


def _records(config: Config) -> Iterator[Finding]:
    records = config.records
    if records.url and (why := _why_no_database(records.url)):
        yield ("records", "url"), why
    if records.instance and not _NAME.fullmatch(records.instance):
        yield ("records", "instance"), f'must be empty or 1 to 64 of A-Z a-z 0-9 _ . -, not "{records.instance}"'
    if not Path(records.spill_dir).is_dir():
        yield ("records", "spill_dir"), f'there is no folder "{records.spill_dir}"'
    if not 0 <= records.keep_days <= MAX_KEEP_DAYS:
        yield ("records", "keep_days"), f"must be from 0 (for ever) to {MAX_KEEP_DAYS}, not {records.keep_days}"


def _why_no_database(url: str) -> str:
    """What is wrong with a database's URL, without showing it: it may have a password. Empty: nothing."""
    if url.startswith("sqlite:///"):
        file = url.removeprefix("sqlite:///")
        if not file or file == ":memory:" or "?" in file or file.endswith("/"):
            return "must name a file: sqlite:///sdpserver.db, or with four slashes an absolute path"
        if not Path(file).parent.is_dir():
            return f'there is no folder "{Path(file).parent}"'
        return ""
    form = 'must be "", "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/DATABASE"'
    if not url.startswith("postgresql://"):
        return form
    from sqlalchemy import make_url  # takes long to import
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        return f"{form}, with %-escapes for what is special in a password"
    return "" if made.database else f"{form}; DATABASE is missing"


_AT_LEAST: Mapping[str, Callable[[Any], bool]] = {
    "more than 0": lambda value: value > 0,
    "0 or more": lambda value: value >= 0,
}


def _session(config: Config) -> Iterator[Finding]:
    for key, form in {
        "ring_timeout_s": "more than 0",
        "reattach_s": "0 or more",
        "ws_idle_s": "more than 0",
        "setup_timeout_s": "more than 0",
        "media_timeout_s": "more than 0",
        "max_duration_s": "more than 0",
        "linger_s": "0 or more",
        "max_sessions": "more than 0",
    }.items():
        value = getattr(config.session, key)
        if not _AT_LEAST[form](value):
            yield ("session", key), f"must be {form}, not {value:g}"


def _ports(config: Config) -> Iterator[Finding]:
    """UDP ports that would get into each other's way."""
    webrtc, sip = config.webrtc.port, config.sip.port
    first, last = config.media.rtp_port_range
    workers = config.media.workers or len(os.sched_getaffinity(0))
    if not webrtc:
        ports = range(0)
    elif webrtc + workers - 1 > 65535:
        yield ("webrtc", "port"), f"{workers} media workers take the ports up to {webrtc + workers - 1}, over 65535"
        return
    else:
        ports = range(webrtc, webrtc + workers)
    span = f"{ports[0]}" if len(ports) == 1 else f"{ports[0]}-{ports[-1]}" if ports else ""
    if ports and ports[-1] >= first and ports[0] <= last:
        yield ("media", "rtp_port_range"), f"[{first}, {last}] overlaps the ports of [webrtc], {span}"
    if sip and first <= sip <= last:
        yield ("media", "rtp_port_range"), f"[{first}, {last}] overlaps the port of [sip], {sip}"
    if sip and sip in ports:
        yield ("sip", "port"), f"{sip} is a port of [webrtc] too, {span}"
