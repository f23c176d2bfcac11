"""Operations of the file system on one node, compared with a model; limits; errors of the disk."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import FileSystem
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_model import Model, Walker, walk
from tests.unit.sfs_node import SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

BLOCKS = 1500


def fresh(blocks: int = BLOCKS, journal_blocks: int | None = None) -> tuple[SoloNode, FileSystem]:
    _, sectors = formatted(blocks, journal_blocks=journal_blocks)
    node = SoloNode(CachedDisk(sectors), blocks)
    return node, node.mount()


def code(node: SoloNode, task: Task[Any]) -> int:
    """The errno that it fails with."""
    with pytest.raises(FsError) as caught:
        node.run(task)
    return caught.value.errno


def clean(node: SoloNode, blocks: int = BLOCKS) -> None:
    report = check(node.disk.now, blocks)
    assert report.wrong == []


@pytest.mark.parametrize("seed", range(6))
def test_random_operations_answer_as_the_model_does(seed: int) -> None:
    node, system = fresh()
    randomness = random.Random(seed)
    walker = Walker(Model(), randomness, system.root)
    done = 0
    for count in range(300):
        done += walker.carry_out(walker.step(system), node.run, system) == 0
        if count % 50 == 49:
            tree, contents = walk(node.run, system)
            assert tree == walker.model.tree()
            files = walker.model.files()
            assert contents == {path: walker.model.things[number].data for path, number in files.items()}
        if count % 100 == 99:
            node.run(system.sync())
            clean(node)
    assert done > 100
    node.run(system.unmount())
    clean(node)
    again = SoloNode(node.disk, BLOCKS)
    tree, contents = walk(again.run, again.mount(2))
    assert tree == walker.model.tree()
