"""The checker of the order of levels: what it lets pass, and what it finds."""

from typing import Any

import pytest

from hil.checkers import level_order
from hil.errors import ClaimFailed


def events(kind: str, transition: str, levels: list[int], **fields: Any) -> list[dict[str, Any]]:
    head = {"kind": kind, "node": 0, "subject": 1, "incarnation": 1, "transition": transition} | fields
    return [head | {"level": level} for level in levels]


@pytest.mark.parametrize(
    ("transition", "levels"),
    [
        ("join", [0, 10, 20, 30, 40]),
        ("join", [0, 10, 10, 20]),  # two barriers
        ("forced-leave", [0, 10]),  # S4.11: as high as the join had come
        ("leave", [40, 30, 20, 10, 0]),
        ("join", []),
    ],
)
@pytest.mark.parametrize("kind", ["notified", "level-complete"])
def test_levels_in_order_pass(kind: str, transition: str, levels: list[int]) -> None:
    level_order.check(events(kind, transition, levels))


@pytest.mark.parametrize(
    ("transition", "levels"), [("join", [0, 20, 10]), ("forced-leave", [10, 0]), ("leave", [40, 20, 30])]
)
def test_a_level_out_of_order_is_named(transition: str, levels: list[int]) -> None:
    with pytest.raises(ClaimFailed, match=rf"{transition} of node 1 \(incarnation 1\): on node 0 notified at level"):
        level_order.check(events("notified", transition, levels))


def test_a_late_join_has_no_place_among_the_levels() -> None:  # S4.12
    late = events("notified", "join", [15], late=True)
    level_order.check([*events("notified", "join", [0, 10, 20]), *late, *events("notified", "join", [30])])
    with pytest.raises(ClaimFailed):
        level_order.check(events("notified", "join", [0, 10, 20, 15]))


def test_transitions_of_different_nodes_lives_and_types_are_independent() -> None:  # S4.6
    level_order.check(
        [
            *events("notified", "join", [0, 10, 20]),
            *events("notified", "join", [0, 10], subject=2),
            *events("notified", "join", [0], incarnation=2),
            *events("notified", "forced-leave", [0, 10]),
            *events("notified", "join", [0, 10, 20], node=2),
        ]
    )


def test_the_completed_levels_of_one_transition_are_listed_once_each() -> None:
    stream = [
        *events("level-complete", "join", [0, 10]),
        *events("level-complete", "leave", [40, 30, 30, 20]),
        *events("level-complete", "leave", [40], subject=2),
        *events("notified", "leave", [10]),
    ]
    assert level_order.completed_levels(stream, 1, "leave") == [40, 30, 20]
