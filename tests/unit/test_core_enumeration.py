"""guestd's enumerations are what ``enum.Enum`` is to those who use them, and depend on no hash seed."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from guestd.core.enumeration import Enum
from guestd.membership.states import NodeState


class Colour(Enum):
    """With a property, a method and a private constant, none of which is a member."""

    RED = "red"
    BLUE = "blue"
    _private = "no member"

    @property
    def warm(self) -> bool:
        return self is Colour.RED

    def again(self) -> Colour:
        return Colour(self.value)


def test_members_in_their_order() -> None:
    assert [colour.name for colour in Colour] == ["RED", "BLUE"]
    assert [colour.value for colour in Colour] == ["red", "blue"]
    assert len(Colour) == 2


def test_a_value_finds_its_member() -> None:
    assert Colour("red") is Colour.RED
    assert Colour.BLUE.again() is Colour.BLUE
    assert Colour.RED.warm
    assert not Colour.BLUE.warm
    with pytest.raises(ValueError, match=r"'green' is not a valid Colour"):
        Colour("green")


def test_members_are_equal_to_themselves_only() -> None:
    assert {Colour.RED: 1, Colour.BLUE: 2}[Colour("blue")] == 2
    other: Any = "red"
    assert other != Colour.RED
    assert isinstance(Colour.RED, Colour)


def test_shown_by_name() -> None:
    assert str(Colour.RED) == "Colour.RED"
    assert repr(Colour.RED) == "<Colour.RED: 'red'>"


@pytest.mark.parametrize("change", ["name", "value", "other"])
def test_nothing_can_be_changed(change: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Colour.RED, change, 1)
    with pytest.raises(AttributeError):
        setattr(Colour, change, 1)


def test_a_value_cannot_have_two_names() -> None:
    with pytest.raises(ValueError, match=r"Twice\.SECOND"):

        class Twice(Enum):
            FIRST = 1
            SECOND = 1


def test_a_copy_is_the_member_itself() -> None:
    assert copy.deepcopy(NodeState.JOINED) is NodeState.JOINED
    assert pickle.loads(pickle.dumps(NodeState.JOINED)) is NodeState.JOINED


def test_a_set_of_members_has_one_order_whatever_the_hash_seed() -> None:
    script = "from guestd.membership.states import NodeState as S; print([s.name for s in set(reversed(list(S)))])"
    orders = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2", "3", "4")
    }
    assert len(orders) == 1
