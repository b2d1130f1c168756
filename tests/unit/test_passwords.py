"""Password hashes: what fits, what is no hash, and what a check takes."""

from __future__ import annotations

import base64
import hashlib
import io
import time
import unicodedata

import pytest

from sdpserver import cli
from sdpserver.passwords import check_password, hash_password, why_no_hash


def text_of(password: bytes, salt: bytes, n: int, r: int, p: int) -> str:
    digest = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, dklen=64)
    return f"scrypt${n}${r}${p}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("password", ["pw1002", "ж пароль", "a" * 10_000, "\ud800"])
def test_a_password_fits_its_hash_and_no_other(password: str) -> None:
    known = hash_password(password)
    assert known.startswith("scrypt$16384$8$1$")
    assert why_no_hash(known) is None
    assert check_password(password, known)
    assert not check_password(password + "x", known)
    assert not check_password("", known)
    assert hash_password(password) != known


def test_a_hash_of_other_costs_is_checked_with_those() -> None:
    known = text_of(b"pleaseletmein", b"SodiumChloride", 1024, 8, 16)
    assert check_password("pleaseletmein", known)
    assert not check_password("pleaseletmeout", known)


def test_rfc_7914_vector() -> None:
    # Section 12, N = 16384, r = 8, p = 1.
    digest = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    salt = base64.b64encode(b"SodiumChloride").decode()
    assert check_password("pleaseletmein", f"scrypt$16384$8$1${salt}${base64.b64encode(digest).decode()}")


def test_the_same_letter_spelled_two_ways_is_one_password() -> None:
    known = hash_password(unicodedata.normalize("NFC", "Zoë"))
    assert check_password(unicodedata.normalize("NFD", "Zoë"), known)


def test_no_hash_is_never_right_and_takes_as_long() -> None:
    known = hash_password("x")

    def took_s(password_hash: str | None) -> float:
        started_s = time.process_time()
        assert not check_password("y", password_hash)
        return time.process_time() - started_s

    there, missing = min(took_s(known) for _ in range(5)), min(took_s(None) for _ in range(5))
    assert 0.5 < missing / there < 2


SALT, HASH = "AAAAAAAAAAAAAAAAAAAAAA==", "A" * 43 + "="


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "form"),
        ("hunter2", "form"),
        (f"bcrypt$16384$8$1${SALT}${HASH}", "form"),
        (f"scrypt$16384$8$1${SALT}${HASH}\n", "form"),
        (f"scrypt$16384$8$1${SALT}${HASH}$", "form"),
        (f"scrypt$16383$8$1${SALT}${HASH}", "power of two"),
        (f"scrypt$1$8$1${SALT}${HASH}", "power of two"),
        (f"scrypt$1048576$8$1${SALT}${HASH}", "costs"),  # 1 GB
        (f"scrypt$16384$0$1${SALT}${HASH}", "costs"),
        (f"scrypt$16384$8$99${SALT}${HASH}", "costs"),
        (f"scrypt$16384$8$1$AAAAA${HASH}", "base64"),
        (f"scrypt$16384$8$1$AAAA${HASH}", "under"),
        (f"scrypt$16384$8$1${SALT}$AAAA", "under"),
    ],
)
def test_what_is_no_hash_is_told_without_a_word_of_it(text: str, why: str) -> None:
    told = why_no_hash(text)
    assert told is not None
    assert why in told
    assert "hunter2" not in told
    with pytest.raises(ValueError, match=why):
        check_password("x", text)


def test_the_command_line_hashes_what_comes_by_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("pw 1002 \r\nmore\n"))
    assert cli.main(["hash-password"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert check_password("pw 1002 ", out.strip())


def test_the_command_line_takes_no_empty_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert cli.main(["hash-password"]) == 1
    assert capsys.readouterr() == ("", "sdpserver: there is no password\n")
