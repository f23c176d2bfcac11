"""Writes the reference of the command line from the commands themselves: ``.venv/bin/python docs/reference.py``.

docs/reference/commands.md for people who read here, docs/hil.1 for ``man``. A test keeps both the same as the code.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import typer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from hil.cli.main import app  # noqa: E402 - of this checkout, whatever is installed
from hil.verdict import EXIT_STATUS, Verdict  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "commands.md"
MANUAL = ROOT / "docs" / "hil.1"

STATUSES = {
    Verdict.PASSED: "passed",
    Verdict.CLAIM_FAILED: "a claim failed: what a scenario says, or what every run must keep to, is not so",
    Verdict.REFUSED: "the request cannot be carried out as typed, or this host lacks something; nothing has happened",
    Verdict.LABORATORY_BROKE: "the laboratory broke: that says nothing about the claim",
    Verdict.INVALID: "invalid: a fault did not take hold or was not undone",
}

ENVIRONMENT = {
    "HIL_ACCELERATOR": "the accelerator of clusters whose file does not choose one: kvm or tcg; default: by trial",
    "HIL_DEBUG": "1: errors come with their traceback, as with --debug",
    "HIL_RUNS_DAYS": "how old runs get that did not fail, in days; default: 30 (evidence.md)",
    "HIL_RUNS_KEPT": "how many runs are kept that did not fail, of all clusters together; default: 50",
    "HIL_RUNS_MIB": "how many MiB they take together; default: 4096",
    "HIL_NODES_MAX": "how many nodes may run at once, instead of what is counted from cores and memory",
    "NO_COLOR": "1: the live view does without colours",
    "XDG_CACHE_HOME": "below it, in hil/: images, saved machines, Debian packages; may be deleted (~/.cache)",
    "XDG_STATE_HOME": "below it, in hil/: runs with their evidence, checkpoints, the shell's history (~/.local/state)",
}

HEAD = """\
# Commands

Written by `docs/reference.py` from the commands themselves; a test keeps the two the same. `hil COMMAND --help` and
`man -l docs/hil.1` show it, too. Every command that works on a cluster takes `--name`; none needs a terminal but
`hil status --watch` and `hil run --pause-on-failure`.

| exit status | |
|---|---|
"""

DESCRIPTION = """\
Boots virtual machines that share one virtual SCSI disk and a private network, breaks them in every way that a
laboratory can, and judges what the cluster makes of it. Every command that works on a cluster takes --name NAME;
without it the only running cluster is meant. No command needs a terminal but
the live view (status --watch) and the prompt at a failure (run --pause-on-failure)."""

COMPLETION = """\
`hil --install-completion` has the shell complete commands, options, and names of scenarios, running clusters and
their nodes (bash, zsh, fish); `hil --show-completion` prints what that installs."""


class Verb(NamedTuple):
    """One command, by the words that are typed; ``command``: typer's."""

    words: str
    command: Any


def verbs() -> list[Verb]:
    """All commands, those of a group behind one another, in the order of the help."""

    def below(words: str, command: Any) -> Iterator[Verb]:
        commands = getattr(command, "commands", None)
        if commands is None or command.invoke_without_command:
            yield Verb(words, command)
        for name, one in (commands or {}).items():
            if not one.hidden:
                yield from below(f"{words} {name}", one)

    return list(below("hil", typer.main.get_command(app)))


def usage(verb: Verb) -> str:
    """Such as ``hil link cut [OPTIONS] NODE...``."""
    told = [verb.words]
    if _options(verb):
        told.append("[OPTIONS]")
    for one in _arguments(verb):
        name = one.metavar or one.name.upper()
        told.append(name if one.required or name.startswith("[") else f"[{name}]")
    return " ".join(told)


def about(verb: Verb) -> list[str]:
    """Its help, as paragraphs."""
    text = inspect.cleandoc(verb.command.help or "")
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def parameters(verb: Verb) -> list[tuple[str, str]]:
    """How each argument and option is written, and what it means."""
    rows = [(one.metavar or one.name.upper(), one.help or "") for one in _arguments(verb)]
    for one in _options(verb):
        names = ", ".join([*one.opts, *one.secondary_opts])
        value = "" if one.is_flag or _is_switch(one) else f" {_value(one)}"
        rows.append((names + value, (one.help or "") + _default(one)))
    return rows


def page() -> str:
    """docs/reference/commands.md as it should be."""
    lines = [HEAD.rstrip("\n"), *(f"| {EXIT_STATUS[one]} | {text} |" for one, text in STATUSES.items())]
    lines += ["| 130 | interrupted (Ctrl-C, SIGTERM): what was started is taken down |", "", COMPLETION]
    lines += ["", "| environment | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in ENVIRONMENT.items())]
    for verb in verbs():
        lines += ["", f"## {verb.words}", "", f"`{usage(verb)}`"]
        for paragraph in about(verb):
            lines += ["", paragraph]
        if rows := parameters(verb):
            lines += ["", "| | |", "|---|---|"]
            lines += [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows]
    return "\n".join(lines) + "\n"


def manual() -> str:
    """docs/hil.1 as it should be, in the macros of man(7)."""
    lines = [
        '.\\" Written by docs/reference.py; a test keeps it the same as the code.',
        ".TH HIL 1",
        ".SH NAME",
        "hil \\- hardware\\-in\\-the\\-loop emulator for shared\\-disk clusters",
        ".SH SYNOPSIS",
        ".B hil",
        "[\\-\\-debug] COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        _roff(DESCRIPTION),
        ".SH COMMANDS",
    ]
    for verb in verbs():
        lines += [f".SS {_roff(usage(verb))}"]
        for number, paragraph in enumerate(about(verb)):
            lines += [*([".PP"] if number else []), _roff(paragraph)]
        for name, text in parameters(verb):
            lines += [".TP", f".B {_roff(name)}", _roff(text or " ")]
    lines.append(".SH EXIT STATUS")
    for one, text in STATUSES.items():
        lines += [".TP", f".B {EXIT_STATUS[one]}", _roff(text)]
    lines += [".TP", ".B 130", "interrupted", ".SH ENVIRONMENT"]
    for name, text in ENVIRONMENT.items():
        lines += [".TP", f".B {name}", _roff(text)]
    return "\n".join(lines) + "\n"


def _arguments(verb: Verb) -> list[Any]:
    return [one for one in verb.command.params if one.param_type_name == "argument"]


def _options(verb: Verb) -> list[Any]:
    return [one for one in verb.command.params if one.param_type_name == "option" and not one.hidden]


def _is_switch(option: Any) -> bool:
    return isinstance(option.default, bool)


def _value(option: Any) -> str:
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(one.value) for one in kind)
    return str(option.metavar or option.name.upper())


def _default(option: Any) -> str:
    default = option.default
    if default is None or _is_switch(option) or option.is_flag or "default:" in (option.help or ""):
        return ""
    return f" Default: {default.value if isinstance(default, Enum) else default}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _roff(text: str) -> str:
    told = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{told}" if told.startswith((".", "'")) else told


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    MANUAL.write_text(manual(), encoding="utf-8")
