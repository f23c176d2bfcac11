"""The lines that were typed at the prompt, kept from one shell to the next."""

from __future__ import annotations

import contextlib
import readline
from collections.abc import Iterator
from typing import Final

from hil import paths

LINES_MAX: Final = 2_000


@contextlib.contextmanager
def kept_history() -> Iterator[None]:
    """In the block lines are read with history and Tab completion, and each line is kept as soon as it is entered.

    So nothing is lost when the shell is killed, and two at once each add theirs. Where the file cannot be written the
    shell works without.
    """
    file = paths.state_dir() / "shell-history"
    before = [readline.get_history_item(i + 1) for i in range(readline.get_current_history_length())]
    readline.clear_history()
    readline.set_history_length(LINES_MAX)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(file)
    try:
        yield
    finally:
        readline.clear_history()
        for line in before:
            readline.add_history(line)


def keep_newest() -> None:
    """The line that was entered last is on the disk when this returns."""
    with contextlib.suppress(OSError):
        readline.append_history_file(1, paths.state_dir() / "shell-history")
