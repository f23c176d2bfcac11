"""The entry point of ``hil``: all verbs, and the one place where an error becomes an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hil import __version__
from hil.cli import (
    access,
    checkpoints,
    disk,
    failure,
    fault,
    fsck,
    host,
    lifecycle,
    machines,
    member,
    replay,
    report,
    runs,
    scenarios,
    service,
    shell,
    sim,
    status,
    vdisk,
)

app = typer.Typer(
    name="hil",
    help="Hardware-in-the-loop emulator for shared-disk clusters.\n\n"
    "Exit status: 0 passed, 1 a claim failed, 2 usage or refused by preflight, 3 the laboratory broke, 4 invalid"
    " (a fault did not take hold).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hil {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; so does HIL_DEBUG=1.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    if debug:
        # In the environment, so that what hil starts (a proxy command, a scenario's pytest) does the same.
        os.environ["HIL_DEBUG"] = "1"


for group in (
    host,
    lifecycle,
    status,
    machines,
    fault,
    disk,
    member,
    checkpoints,
    access,
    shell,
    service,
    scenarios,
    replay,
    report,
    runs,
    sim,
    vdisk,
    fsck,
):
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``hil`` with ``arguments`` (default: the process's own); the exit status. Never raises."""
    try:
        result = app(arguments, prog_name="hil", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _usage(error)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer has a status of its own for it
            return failure.report(error.__context__)
        return error.code if isinstance(error.code, int) else 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last frame before the user
        return failure.report(error)
    if result == failure.INTERRUPTED:  # typer turns Ctrl-C into this
        failure.say("interrupted")
    return result if isinstance(result, int) else 0


def run() -> None:
    """Entry point of the command ``hil``."""
    _fill_standard_streams()
    # A CI job that runs out of time sends SIGTERM: end as on Ctrl-C, with clusters taken down and reports written.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())


def _fill_standard_streams() -> None:
    """Who started us may have closed them: then what is said goes nowhere, and no socket of ours gets their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
    # The interpreter has looked already, and has None for what was closed.
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _usage(error: typer.TyperException) -> int:
    """Something was typed that no verb takes; the exit status, 2."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ != "NoArgsIsHelpError":  # there the help has been printed
        message = error.format_message().replace("Value error, ", "")  # pydantic's words for "I did not foresee this"
        verbs = getattr(getattr(context, "command", None), "commands", {})
        if verbs and message.startswith("No such command"):
            message += f" There are: {', '.join(verbs)}"
        failure.say(message)
        if context is not None:
            print(f"  `{context.command_path} --help` shows what it takes", file=sys.stderr)
    return 2
