"""``hil fault``: the fault library from the command line; each fault is verified before its verb returns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.nodes import ALL, connected
from hil.cli.options import AsJson, Name
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.faults.injection import Injection


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    fault = typer.Typer(
        help="Faults of every kind, each verified: that it took hold when it is injected, that it is undone when it is"
        " healed (status 4 if not).",
        no_args_is_help=True,
    )
    fault.command("list")(list_)
    fault.command("inject")(inject)
    fault.command("heal")(heal)
    fault.command("show")(show)
    app.add_typer(fault, name="fault")


def list_(as_json: AsJson = False) -> None:
    """List every kind of fault: what it does, its parameters, how it is verified, the back ends that have it.

    With --json: a list of {fault, about, held (how it is seen that it took hold), undone, backends, lacking (back end
    to why), parameters: name to {about, legal, default, needed}}.
    """
    from hil.faults.library import described

    kinds = described()
    if as_json:
        print(json.dumps(kinds, indent=2))
        return
    for kind in kinds:
        only = "" if len(kind["backends"]) > 1 else f" (only --backend {kind['backends'][0]})"
        print(f"{kind['fault']:<20} {kind['about']}{only}")
        for name, about in kind["parameters"].items():
            default = "needed" if about["needed"] else "" if about["default"] is None else f"default {about['default']}"
            print(f"  {name + '=':<18} {about['about']}: {about['legal']}{f' ({default})' if default else ''}")


def inject(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="One of `hil fault list`.")],
    whom: Annotated[
        str,
        typer.Argument(
            metavar="ROLE|NODE",
            help="master, any, any_other, minority, majority, all, holder_of(LOCK), runs(SERVICE), or numbers of nodes,"
            " as 0,2.",
        ),
    ],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Parameters of the kind.")
    ] = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Inject a fault; it has taken hold when this returns, and stays until `hil fault heal`.

    With --json: one object as of `hil fault show --json`.
    """
    from hil.faults.library import check, kind_of
    from hil.faults.parameters import typed

    known = kind_of(kind).parameters
    given: dict[str, Any] = {}
    for text in parameters or []:
        key, separator, value = text.partition("=")
        if not separator or key in given:
            raise UsageError(f"fault {kind}: {text!r} (legal: each parameter once, as key=value)")
        given[key] = typed(kind, known, key, value)
    check(kind, given)
    with connected(name) as cluster:
        fault = cluster.inject(kind, whom, **given)
        print(json.dumps(_record(fault), indent=2) if as_json else _sentence(fault))


def heal(
    number: Annotated[
        str, typer.Argument(metavar="[N|all]", help="The number of `hil fault show`; default: all.")
    ] = ALL,
    name: Name = None,
) -> None:
    """Heal one fault, or all, the newest first; each is undone when this returns."""
    with connected(name) as cluster:
        there = cluster.injections()
        chosen = there if number == ALL else [fault for fault in there if str(fault.number) == number]
        if number != ALL and not chosen:
            numbers = ", ".join(str(fault.number) for fault in there) or "none"
            raise UsageError(f"no fault {number!r}; there are: {numbers}")
        if not chosen:
            print("no fault to heal")
        for fault in reversed(chosen):
            fault.heal()
            print(f"fault {fault.number}: {fault} undone")


def show(name: Name = None, as_json: AsJson = False) -> None:
    """Show the faults in force that this library has injected, whoever has.

    With --json: a list of {number, fault, whom (the role that was asked for), nodes, parameters, step (begun, holds,
    recovering, failed)}.
    """
    with connected(name) as cluster:
        there = cluster.injections()
        if as_json:
            print(json.dumps([_record(fault) for fault in there], indent=2))
        elif not there:
            print("no fault in force")
        else:
            print("\n".join(_sentence(fault) for fault in there))


def _record(fault: Injection) -> dict[str, Any]:
    about = {"number": fault.number, "fault": fault.kind, "whom": fault.whom, "nodes": fault.fault.ids}
    return about | {"parameters": fault.fault.values, "step": fault.step}


def _sentence(fault: Injection) -> str:
    values = "".join(f" {name}={value}" for name, value in fault.fault.values.items())
    return f"fault {fault.number}: {fault}{values}: {fault.step}"
