"""Every fault that is put into guestd is found, and guestd as it is passes the same seeds: ``./run mutations``.

``HIL_MUTATION_SEEDS`` (500): how far each is looked for.
"""

from __future__ import annotations

import os

import pytest

from tests.mutations.__main__ import main

SEEDS = int(os.environ.get("HIL_MUTATION_SEEDS") or 500)


@pytest.mark.timeout(3600)
def test_every_fault_put_into_guestd_is_found(capsys: pytest.CaptureFixture[str]) -> None:  # S3.2, S4.5, S6.2, A23
    with capsys.disabled():
        print(f"\nHIL_MUTATION_SEEDS={SEEDS} ./run nightly tests/nightly/test_mutations.py", flush=True)
        status = main(["--seeds", str(SEEDS)])
    assert status == 0
