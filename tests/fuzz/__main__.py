"""Repeats one case of the fuzzer, or runs several: ``python -m tests.fuzz --seed 17``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.fuzz.campaign import CASE_PDUS, run_campaign


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the first case")
    parser.add_argument("--pdus", type=int, default=CASE_PDUS, help="of each case")
    parser.add_argument("--cases", type=int, default=1, help="with the seeds that follow")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run_campaign(Path(directory), options.seed, options.pdus * options.cases, case_pdus=options.pdus)


if __name__ == "__main__":
    main()
