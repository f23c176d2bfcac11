"""The identity by which a guest finds the shared disk."""

from __future__ import annotations

import re

import pytest

from hil.errors import UsageError
from hil.scsi import identity


def test_the_wwid_is_an_naa_6_name_with_the_serial_number_at_its_end() -> None:  # SPC-4 7.8.6.6.5
    assert re.fullmatch(r"naa\.6[0-9a-f]{15}00112233445566aa", identity.wwid("00112233445566AA"))
    assert len(identity.naa("00112233445566aa")) == 16


@pytest.mark.parametrize("text", ["", "123", "0" * 15, "0" * 17, "g" * 16, "0x" + "0" * 14])
def test_another_serial_number_than_16_hexadecimal_digits_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="16 hexadecimal digits are"):
        identity.serial(text)


def test_further_luns_have_serial_numbers_of_their_own() -> None:
    assert identity.following("f" * 16, 1) == "0" * 16
    assert identity.following("00000000000000ff", 1) == "0000000000000100"


def test_a_file_without_a_serial_number_keeps_its_identity() -> None:
    assert identity.serial_of_path("/a") == identity.serial_of_path("/a") != identity.serial_of_path("/b")
    assert identity.serial(identity.serial_of_path("/a"))
