"""guestd's JSON says what the standard library's says, and refuses what is no JSON."""

from __future__ import annotations

import json as standard
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestd.core import json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_the_same_text_as_the_standard_library(value: Any) -> None:
    text = json.dumps(value)
    assert text == standard.dumps(value, separators=(",", ":"))
    assert json.loads(text) == value
    assert json.loads(f" \n{text}\t\r".encode()) == value


@pytest.mark.parametrize(
    "text", ["", "  ", "{", "1 2", "NaN", "-Infinity", "[1,]", '{"a" 1}', b"\xff", '"\n"', "{1: 2}", "nul", "\f1"]
)
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json.loads(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json.dumps(value)


def test_values_that_json_lacks_are_named() -> None:
    with pytest.raises(TypeError, match=r"bytes has no JSON: b'x'"):
        json.dumps({"a": [b"x"]})


def test_a_value_within_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        json.dumps(value)
