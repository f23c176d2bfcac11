"""Pools of processes that end with their owner, however it ends (spec S10.1).

Those of the standard library wait for work for ever when their owner was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def pool(jobs: int, begin: Callable[..., object] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """``jobs`` spawned processes; ``begin`` is called in each before its first work."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(begin, arguments))


def _begin(begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    owner = multiprocessing.parent_process()
    assert owner is not None, "multiprocessing has started this process"

    def wait() -> None:
        owner.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-owner", daemon=True).start()
    if begin is not None:
        begin(*arguments)
