"""The configuration: what is read, from where, and how wrong things are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sdpserver.config import Config
from sdpserver.config_loader import load, load_with_warnings
from sdpserver.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.toml"
KEY = "a" * 64
HASH = "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "="

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write


def problems(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return [re.sub(rf"^{re.escape(str(path))}:(\d+)", r"line \1", line) for line in str(caught.value).splitlines()]


def test_the_shipped_file_holds_the_defaults_and_no_trunk() -> None:
    config, warnings = load_with_warnings(SHIPPED, {})
    assert config == Config()
    assert warnings == []


def test_the_commented_parts_of_the_shipped_file_are_right_too(write: Write) -> None:
    lines = SHIPPED.read_text().splitlines()
    first = lines.index("# [[trunks]]")
    last = next(index for index, line in enumerate(lines) if line.startswith("[routing]"))
    config = load(write("\n".join(line.removeprefix("# ") for line in lines[first:last])), {})
    assert [trunk.name for trunk in config.trunks] == ["asterisk"]
    assert [(route.match, route.trunk) for route in config.routes] == [("^[0-9]+$", "asterisk")]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(write: Write) -> None:
    path = write('[http]\nport = "80"\n\n[log]\nlevl = "info"\nformat = "xml"\n[sesion]\n')
    assert problems(path) == [
        'line 2: [http] port: must be a whole number, not "80"',
        "line 5: [log] levl: unknown key; did you mean level?",
        'line 6: [log] format: must be one of "text", "json", not "xml"',
        "line 7: [sesion]: unknown section; did you mean session?",
    ]


CASES: list[tuple[str, str]] = [
    ("[http]\nport = 70000", "line 2: [http] port: must be a port from 1 to 65535, or 0 for any free one, not 70000"),
    ("[http]\nport = true", "line 2: [http] port: must be a whole number, not true"),
    ("http = 1", "line 1: [http]: must be a table, [http]"),
    ("[trunks]\nname = 1", "line 1: [trunks]: must be an array of tables: [[trunks]]"),
    ('[http]\nbind = "gw"', 'line 2: [http] bind: must be an IP address or localhost, not "gw"'),
    ('[http]\ntls_cert = "a.pem"', "line 1: [http] tls_key: is missing; tls_cert and tls_key come as a pair"),
    (
        '[http]\ncors_origins = ["*"]',
        'line 2: [http] cors_origins: "*" needs [auth]: without it any web page could make calls',
    ),
    (
        '[http]\ncors_origins = ["app.example.com"]',
        'line 2: [http] cors_origins: must be origins such as "https://app.example.com", not "app.example.com"',
    ),
    (
        '[http]\nserver_names = ["a.example"]',
        'line 2: [http] server_names: "a.example" needs [auth]: without it only this machine may use the server',
    ),
    (
        '[webrtc]\nannounced_ips = ["gw.example"]',
        'line 2: [webrtc] announced_ips: must be IP addresses, not "gw.example"',
    ),
    (
        '[webrtc]\nannounced_ips = ["0.0.0.0"]',
        "line 2: [webrtc] announced_ips: 0.0.0.0 is no address that a browser can send to",
    ),
    ('[webrtc]\nice = "full"', 'line 2: [webrtc] ice: "full" is not supported by this version; it must be "lite"'),
    (
        '[webrtc]\nstun_server = "stun:x"',
        'line 2: [webrtc] stun_server: belongs to ice = "full", which is not supported by this version; leave it out',
    ),
    (
        "[media]\nrtp_port_range = [20001, 30000]",
        "line 2: [media] rtp_port_range: must be [first, last] with an even first port from 1024 on and last greater "
        "than first, at most 65535, not [20001, 30000]",
    ),
    (
        "[media]\nrtp_port_range = [20000]",
        "line 2: [media] rtp_port_range: must be an array of two whole numbers, [first, last], not [20000]",
    ),
    (
        "[webrtc]\nport = 20001",
        "[media] rtp_port_range: [20000, 29999] overlaps the ports of [webrtc], 20001",
    ),
    (
        "[sip]\nport = 25000",
        "[media] rtp_port_range: [20000, 29999] overlaps the port of [sip], 25000",
    ),
    ("[sip]\nport = 10000", "line 2: [sip] port: 10000 is a port of [webrtc] too, 10000"),
    ("[media]\ncodecs = []", "line 2: [media] codecs: must name at least one of PCMU, PCMA, opus, G722"),
    ("[media]\nopus_bitrate_bps = 5000", "line 2: [media] opus_bitrate_bps: must be from 6000 to 128000, not 5000"),
    ("[media]\nopus_complexity = 11", "line 2: [media] opus_complexity: must be from 0 to 10, not 11"),
    (
        "[media]\njitter_buffer_ms = [200, 20]",
        "line 2: [media] jitter_buffer_ms: must be [least, most], both from 20 to 500, not [200, 20]",
    ),
    (
        '[media]\ncodecs = [\n  "PCMU",\n  "G729"\n]',
        'line 2: [media] codecs: must be an array with any of "PCMU", "PCMA", "opus", "G722", not ["PCMU","G729"]',
    ),
    (
        '[sip]\ntransports = ["tls"]',
        'line 1: [sip] tls_ca: is missing; "tls" verifies its peers by the certificates in that file',
    ),
    ("[sip]\ntrace_messages = 31", "line 2: [sip] trace_messages: must be from 32 to 10000, not 31"),
    ("[sip]\ntrace_kb = 63", "line 2: [sip] trace_kb: must be from 64 to 16384, not 63"),
    ("[sip]\ntrace_mb = 0", "line 2: [sip] trace_mb: must be from 1 to 4096, not 0"),
    ('[[trunks]]\nname = "a"', 'line 1: [[trunks]] 1: server is missing; it must be a string, "..."'),
    (
        '[[trunks]]\nname = "a"\nserver = "a b"',
        'line 3: [[trunks]] 1 server: must be a host or host:port such as "10.0.0.5:5060", not "a b"',
    ),
    (
        '[[trunks]]\nname = "a"\nserver = "h"\n[[trunks]]\nserver = "h"\nname = "a"',
        'line 6: [[trunks]] 2 name: "a" is there twice, first in entry 1',
    ),
    (
        '[[trunks]]\nname = "a"\nserver = "h"\nusername = "u"\npassword = "p"\npassword_env = "HOME"',
        "line 6: [[trunks]] 1 password_env: password and password_env are set; only one may be",
    ),
    (
        '[[trunks]]\nname = "a"\nserver = "h"\nallow_ips = ["10.0.0.1/24"]',
        'line 4: [[trunks]] 1 allow_ips: must be IP addresses or networks such as "10.0.0.0/24", not "10.0.0.1/24"',
    ),
    (
        '[[routes]]\nmatch = "1"\ntrunk = "pbx"',
        'line 3: [[routes]] 1 trunk: no [[trunks]] has the name "pbx"; known: there is none',
    ),
    (
        '[routing]\ndefault = "600"',
        'line 2: [routing] default: "600" must be one of echo, tone, silence, or a number that a [[routes]] takes',
    ),
    (
        '[[dn]]\nnumber = "1"\npassword_hash = "x"\n[[dn]]\nnumber = "1"\npassword_hash = "y"',
        'line 5: [[dn]] 2 number: "1" is there twice, first in entry 1',
    ),
    (
        '[[dn]]\nnumber = "1"\npassword_hash = "hunter2"',
        "line 3: [[dn]] 1 password_hash: is not of the form scrypt$N$r$p$salt$hash; "
        "`sdpserver hash-password` prints one",
    ),
    (
        f'[[dn]]\nnumber = "1"\npassword_hash = "{HASH}"\ndisplay_name = "a\\nb"',
        "line 4: [[dn]] 1 display_name: must be at most 128 printable characters",
    ),
    (
        f'[[dn]]\nnumber = "1"\npassword_hash = "{HASH}"\nskills = ["de", ""]',
        'line 4: [[dn]] 1 skills: must be 1 to 64 printable characters each, not ""',
    ),
    (
        '[[trunks]]\nname = "a"\nserver = "h"\nagent_registrar = true\n'
        '[[trunks]]\nname = "b"\nserver = "h"\nagent_registrar = true',
        'line 8: [[trunks]] 2 agent_registrar: only one trunk may have it, and "a" has it already',
    ),
    (
        '[[trunks]]\nname = "a"\nserver = "h"\nagent_registrar = true\nalso_register = "a"',
        'line 5: [[trunks]] 1 also_register: no other [[trunks]] has the name "a"; known: there is none',
    ),
    (
        '[[trunks]]\nname = "a"\nserver = "h"\nalso_register = "b"\n[[trunks]]\nname = "b"\nserver = "h"',
        "line 4: [[trunks]] 1 also_register: needs agent_registrar = true",
    ),
    ('[turn]\nsecret = "s"', "line 1: [turn] urls: is missing; urls and secret come as a pair"),
    (
        '[[ice_servers]]\nurls = ["turn:t.example"]',
        'line 2: [[ice_servers]] 1 urls: "turn:t.example" needs username and credential',
    ),
    (
        '[auth]\nmode = "jwt"',
        'line 2: [auth] mode: "jwt" is not supported by this version; it must be "none" or "api_key"',
    ),
    (
        '[auth]\nmode = "api_key"',
        'line 1: [auth] api_keys: mode = "api_key" needs at least one [[auth.api_keys]] with name and sha256',
    ),
    (
        f'[auth]\nmode = "api_key"\n[[auth.api_keys]]\nname = "k"\nsha256 = "{KEY}"\nscopes = ["sesion"]',
        'line 6: [[auth.api_keys]] 1 scopes: must be any of session, call, dn, supervise, admin, not "sesion"',
    ),
    ("[session]\nmax_sessions = 0", "line 2: [session] max_sessions: must be more than 0, not 0"),
    ("[session]\nlinger_s = nan", "line 2: [session] linger_s: must be a number, not null"),
]


@pytest.mark.parametrize(("text", "problem"), CASES, ids=[problem.partition(": ")[2] for _, problem in CASES])
def test_a_mistake_is_told_with_line_name_and_right_form(write: Write, text: str, problem: str) -> None:
    path = write(text)
    assert problem in [line.removeprefix(f"{path}: ") for line in problems(path)]


def test_a_server_open_to_others_without_authentication_is_refused(write: Write) -> None:
    path = write('[http]\nbind = "0.0.0.0"')
    (problem,) = problems(path)
    assert '"none" is only for a server bound to loopback' in problem
    assert 'mode = "api_key"' in problem
    load(write(f'[http]\nbind = "0.0.0.0"\n[auth]\nmode = "api_key"\n[[auth.api_keys]]\nname="k"\nsha256="{KEY}"'), {})


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_authentication(write: Write, bind: str) -> None:
    assert load(write(f'[http]\nbind = "{bind}"'), {}).http.bind == bind


def test_secrets_are_in_no_message_and_no_repr(write: Write) -> None:
    told = problems(write('[[trunks]]\nname="a"\nserver="b"\nusername="u"\npassword = ["hunter2"]\n[turn]\nsecret=17'))
    assert len(told) == 2  # that urls are missing beside a secret does not count once the secret is wrong
    assert "hunter2" not in str(told)
    assert "17" not in str(told)


def test_a_repr_hides_secrets(write: Write) -> None:
    text = '[[trunks]]\nname="a"\nserver="b"\nusername="u"\npassword = "hunter2"'
    shown = repr(load(write(text), {"RESTSEND_TOKEN": "tok3n"}))
    assert "hunter2" not in shown
    assert "tok3n" not in shown
    assert "password=***" in shown


def test_what_is_no_toml_is_told_with_its_line(write: Write) -> None:
    (problem,) = problems(write("[http]\nport = = 1\n"))
    assert problem.startswith("line 2: is not TOML: ")


@pytest.mark.parametrize("depth", [400, 100_000])
def test_deep_nesting_is_refused_like_any_mistake(write: Write, depth: int) -> None:
    assert problems(write("[http]\nport = " + "[" * depth + "]" * depth))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})
    (tmp_path / "latin").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(tmp_path / "latin", {})


@pytest.mark.parametrize(
    ("environ", "section", "key", "value"),
    [
        ({"SDPSERVER_HTTP__PORT": "9000"}, "http", "port", 9000),
        ({"PORT": "9000"}, "http", "port", 9000),
        ({"PORT": "9000", "SDPSERVER_HTTP__PORT": "9001"}, "http", "port", 9001),
        ({"PORT": ""}, "http", "port", 8081),
        ({"SDPSERVER_LOG__FORMAT": "json"}, "log", "format", "json"),
        ({"LOG_LEVEL": "WARN"}, "log", "level", "warning"),
        (
            {"CORS_ORIGIN": "http://a.example, https://b.example"},
            "http",
            "cors_origins",
            ["http://a.example", "https://b.example"],
        ),
        ({"SDPSERVER_HTTP__CORS_ORIGINS": '["http://a.example"]'}, "http", "cors_origins", ["http://a.example"]),
        ({"SDPSERVER_MEDIA__RTP_PORT_RANGE": "30000,30999"}, "media", "rtp_port_range", (30000, 30999)),
        ({"SDPSERVER_MEDIA__RTP_PORT_RANGE": "[30000, 30999]"}, "media", "rtp_port_range", (30000, 30999)),
        ({"SDPSERVER_SESSION__LINGER_S": "1.5"}, "session", "linger_s", 1.5),
        ({"SDPSERVER_CACHE": "/somewhere", "SDPSERVER_LOG": "file"}, "http", "port", 8081),
    ],
)
def test_the_environment_wins_over_the_file(
    write: Write, environ: dict[str, str], section: str, key: str, value: object
) -> None:
    config = load(write("[http]\nport = 8081\n"), environ)
    assert getattr(getattr(config, section), key) == value


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"PORT": "x"}, 'PORT: [http] port: must be a whole number, not "x"'),
        ({"SDPSERVER_HTTP__PROT": "1"}, "SDPSERVER_HTTP__PROT: [http] has no key prot; did you mean port?"),
        ({"SDPSERVER_HTPP__PORT": "1"}, "SDPSERVER_HTPP__PORT: there is no section [htpp]; did you mean http?"),
        (
            {"SDPSERVER_TRUNKS__NAME": "1"},
            "SDPSERVER_TRUNKS__NAME: [[trunks]] is an array of tables; the form is SDPSERVER_TRUNKS__0__<KEY>",
        ),
        (
            {"SDPSERVER_TRUNKS__3__NAME": "1"},
            "SDPSERVER_TRUNKS__3__NAME: [[trunks]] 4 name: there is no such entry to set a key of",
        ),
        (
            {"LOG_LEVEL": "loud"},
            'LOG_LEVEL: [log] level: must be one of "debug", "info", "warning", "error", not "loud"',
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(environ: dict[str, str], problem: str) -> None:
    assert problems(None, environ) == [problem]


def test_entries_of_arrays_come_from_the_environment(write: Write) -> None:
    environ = {
        "SDPSERVER_TRUNKS__0__NAME": "a",
        "SDPSERVER_TRUNKS__0__SERVER": "10.0.0.5",
        "SDPSERVER_ROUTES": '[{match = "1", trunk = "a"}]',
    }
    config = load(None, environ)
    assert (config.trunks[0].name, config.trunks[0].server, config.routes[0].trunk) == ("a", "10.0.0.5", "a")
    path = write('[[trunks]]\nname = "a"\nserver = "h"\nusername = "u"\n')
    assert load(path, {"SDPSERVER_TRUNKS__0__PASSWORD": "p"}).trunks[0].password == "p"


def test_target_sip_server_makes_a_trunk_and_a_route_for_all_numbers() -> None:
    config = load(None, {"TARGET_SIP_SERVER": "10.0.0.5:5080"})
    assert [(trunk.name, trunk.server) for trunk in config.trunks] == [("target", "10.0.0.5:5080")]
    assert [(route.match, route.trunk) for route in config.routes] == [(".+", "target")]


def test_target_sip_server_moves_the_only_trunk(write: Write) -> None:
    path = write('[[trunks]]\nname = "a"\nserver = "h"\n[[routes]]\nmatch = "^1"\ntrunk = "a"\n')
    config = load(path, {"TARGET_SIP_SERVER": "sip:10.0.0.5"})
    assert [(trunk.name, trunk.server) for trunk in config.trunks] == [("a", "10.0.0.5")]
    assert [route.match for route in config.routes] == ["^1"]


def test_target_sip_server_is_refused_where_it_is_ambiguous(write: Write) -> None:
    path = write('[[trunks]]\nname = "a"\nserver = "h"\n[[trunks]]\nname = "b"\nserver = "h"\n')
    (problem,) = problems(path, {"TARGET_SIP_SERVER": "10.0.0.5"})
    assert problem.startswith("TARGET_SIP_SERVER: the file has several [[trunks]]")


def test_stun_server_adds_to_the_list(write: Write) -> None:
    path = write('[[ice_servers]]\nurls = ["stun:a.example"]\n')
    config = load(path, {"STUN_SERVER": "b.example:3478"})
    assert [server.urls for server in config.ice_servers] == [["stun:a.example"], ["stun:b.example:3478"]]


def test_what_has_no_effect_yet_is_told_and_not_refused(write: Write) -> None:
    _, warnings = load_with_warnings(
        write(f'[[dn]]\nnumber = "1"\npassword_hash = "{HASH}"\n'),
        {"JWT_SECRET": "s3cret"},
    )
    assert [warning.partition(":")[0] for warning in warnings] == [
        "[auth] jwt_secret",
    ]
    assert "s3cret" not in str(warnings)


@pytest.mark.parametrize(
    ("transport", "srtp", "warned"),
    [("udp", "required", True), ("tcp", "optional", True), ("tls", "required", False), ("udp", "off", False)],
)
def test_keys_in_signalling_that_anyone_can_read_are_warned_of(
    write: Write, transport: str, srtp: str, warned: bool
) -> None:
    sip = '[sip]\ntransports = ["udp", "tcp", "tls"]\ntls_ca = "{}"\n'.format("/etc/ssl/certs/ca-certificates.crt")
    trunk = f'[[trunks]]\nname = "a"\nserver = "h"\ntransport = "{transport}"\nsrtp = "{srtp}"\n'
    _, warnings = load_with_warnings(write(sip + trunk), {})
    assert [warning.partition(":")[0] for warning in warnings] == ["[[trunks]] 1 srtp"] * warned


RECORDS = 'must be "", "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/DATABASE"'


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('url = "mysql://u:s3cret@h/d"', f"[records] url: {RECORDS}"),
        ('url = "s3cret"', f"[records] url: {RECORDS}"),
        ('url = ["postgresql://u:s3cret@h/d"]', '[records] url: must be a string, "...", not what is there'),
        ('url = "postgresql://u:s3cret@h:x/d"', "[records] url: must be"),
        ('url = "postgresql://u:s3cret@h"', "DATABASE is missing"),
        ('url = "sqlite://"', f"[records] url: {RECORDS}"),
        ('url = "sqlite:///:memory:"', "[records] url: must name a file"),
        ('url = "sqlite:////no/such/folder/s.db"', '[records] url: there is no folder "/no/such/folder"'),
        ('instance = "a b"', "[records] instance: must be empty or 1 to 64 of"),
        ("keep_days = -1", "[records] keep_days: must be from 0 (for ever) to 36500, not -1"),
    ],
)
def test_what_is_wrong_with_records_is_told_without_the_password(write: Write, lines: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(f"[records]\n{lines}\n"), {})
    assert problem in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://u:s3cret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:s3@cr/et@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d?password=s3cret&sslmode=require", "postgresql://u@h/d?password=***&sslmode=require"),
    ],
)
def test_the_password_of_a_database_is_shown_nowhere(write: Write, url: str, shown: str) -> None:
    config = load(None, {"SDPSERVER_RECORDS__URL": url})
    assert config.records.url == url
    assert shown in repr(config)
    assert "s3" not in repr(config)
