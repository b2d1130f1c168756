"""Digits: which there are, and that they stay secret."""

import pytest

from sdpserver.dtmf import DIGITS, MAX_DIGITS, DtmfMethod, DtmfOrder, check_digits, digit_of, event_code
from sdpserver.errors import BadRequest


def test_the_sixteen_digits_have_the_event_codes_of_rfc_4733() -> None:
    assert [event_code(digit) for digit in "0123456789*#ABCD"] == list(range(16))
    assert "".join(digit_of(event) or "" for event in range(16)) == DIGITS


@pytest.mark.parametrize("event", [-1, 16, 17, 255])
def test_other_events_are_no_digits(event: int) -> None:
    assert digit_of(event) is None


@pytest.mark.parametrize(
    ("text", "digits"), [("123#", "123#"), ("*0", "*0"), ("abcd", "ABCD"), ("1" * MAX_DIGITS,) * 2]
)
def test_digits_are_taken(text: str, digits: str) -> None:
    assert check_digits(text) == digits


@pytest.mark.parametrize("text", ["", " ", "12 3", "12,3", "E", "+49", "1\n", "١", "1" * (MAX_DIGITS + 1)])
def test_what_is_no_digit_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_digits(text)
    assert caught.value.reason == "invalid_digits"
    assert not text.strip() or text not in str(caught.value)


def test_an_order_does_not_show_its_digits() -> None:
    assert "4711" not in repr(DtmfOrder(digits="4711", method=DtmfMethod.INFO))
