"""What the campaign takes for possible after a power failure: versions with flipped bits cannot be told apart."""

from __future__ import annotations

import pytest

from hil.scsi.medium import BLOCK_BYTES
from tests.scsi_campaign.cache_model import CacheModel
from tests.scsi_campaign.replay import NEVER_WRITTEN, Block
from tests.scsi_campaign.stamps import different_bits, stamped

_ANNE, _BOB = 1, 2


def _block(sequence: int, bits: int = 0) -> Block:
    return Block(stamped(1, sequence, 0, 1), sequence, bits)


def _model(*written: tuple[Block, int], loses_all: bool = False) -> CacheModel:
    model = CacheModel(loses_all=loses_all)
    for block, owner in written:
        model.write(0, NEVER_WRITTEN, block, owner)
    return model


def _nothing_fits(block: Block) -> bool:
    return False


def _may_be(block: Block, other: Block, flipped: int) -> bool:
    return different_bits(block.data, other.data) + flipped <= block.bits


@pytest.mark.parametrize("loses_all", [False, True])
def test_of_two_versions_with_flipped_bits_it_may_have_become_either(*, loses_all: bool) -> None:
    model = _model((_block(1, bits=3), _ANNE), (_block(2, bits=1), _BOB), (_block(3), _BOB), loses_all=loses_all)
    model.power_lost(_BOB)
    left = model.revert(0, _nothing_fits)
    assert _may_be(left, _block(1), flipped=3)
    assert not _may_be(left, Block(bytes(BLOCK_BYTES)), flipped=0)


def test_what_a_node_with_power_wrote_over_it_cannot_have_come_back() -> None:
    model = _model((_block(1, bits=3), _ANNE), (_block(2, bits=1), _ANNE), (_block(3), _BOB))
    model.power_lost(_BOB)
    assert model.revert(0, _nothing_fits).bits == 1


def test_after_a_doubt_the_next_power_failure_may_reach_below_any_of_them() -> None:
    model = _model((_block(1, bits=3), _ANNE), (_block(2, bits=1), _BOB), (_block(3), _BOB))
    model.power_lost(_BOB)
    model.revert(0, _nothing_fits)
    model.settle(lambda lba: NEVER_WRITTEN)
    model.power_lost(_ANNE)
    assert model.revert(0, NEVER_WRITTEN.__eq__) == NEVER_WRITTEN


def test_after_a_doubt_what_is_written_next_is_certain() -> None:
    model = _model((_block(1, bits=3), _ANNE), (_block(2, bits=1), _BOB), (_block(3), _BOB))
    model.power_lost(_BOB)
    model.revert(0, _nothing_fits)
    model.settle(lambda lba: NEVER_WRITTEN)
    model.write(0, NEVER_WRITTEN, _block(4), _BOB)
    model.power_lost(_ANNE)
    with pytest.raises(AssertionError, match="whose node had power"):
        model.revert(0, _nothing_fits)


def test_one_that_fits_is_known_and_others_with_power_keep_theirs() -> None:
    model = _model((_block(1), _ANNE), (_block(2, bits=40), _ANNE), (_block(3), _BOB))
    model.power_lost(_BOB)
    model.power_lost(_ANNE)
    assert model.revert(0, _block(1).__eq__) == _block(1)
    model = _model((_block(1), _ANNE), (_block(2), _BOB), (_block(3), _ANNE))
    model.power_lost(_ANNE)
    with pytest.raises(AssertionError, match="whose node had power"):
        model.revert(0, _block(1).__eq__)


def test_it_went_back_to_what_it_never_held() -> None:
    model = _model((_block(1), _ANNE))
    model.power_lost(_ANNE)
    with pytest.raises(AssertionError, match="did not hold"):
        model.revert(0, _nothing_fits)
