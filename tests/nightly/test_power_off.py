"""A machine whose guestd has left goes off, however soon after its boot: a hundred times.

The kernel still asks much of its network devices then, and waits for their answers.

``HIL_POWER_OFFS`` (100). Of the machines that kept their links up one in seventy stood still instead.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images import Image
from tests.lab.test_image import goes_off, guestd, image

__all__ = ["guestd", "image"]  # fixtures

POWER_OFFS = int(os.environ.get("HIL_POWER_OFFS") or 100)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300 + 30 * POWER_OFFS)]


def test_every_machine_that_left_right_after_its_boot_goes_off(
    image: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(POWER_OFFS):
        directory = tmp_path / str(number)
        directory.mkdir()
        goes_off(image, directory)
    with capsys.disabled():
        print(f"\n{POWER_OFFS} machines went off")
