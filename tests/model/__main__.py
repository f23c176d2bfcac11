"""Prints the tables of docs/election.md: ``python -m tests.model``; ``--traces`` adds every counter-example.

``HIL_MODEL=deep`` searches the bigger bounds instead.
"""

from __future__ import annotations

import sys

from tests.model import cases, omissions


def main() -> None:
    if cases.DEPTH == "deep":
        print(cases.table(cases.DEEP), end="")
        return
    print(cases.table())
    print(omissions.table(), end="")
    if "--traces" in sys.argv[1:]:
        for one in omissions.OMISSIONS:
            print(f"\n{one.told()}\n{omissions.tried(one).told()}")


if __name__ == "__main__":
    main()
