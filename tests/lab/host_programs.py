"""Programs of this host brought into a guest: with their shared libraries and their loader, so whatever the host is.

The guests' image is small on purpose and has none of them. They are put into a tmpfs, and each runs through the loader
that it brings: what the image has of the same libraries is neither used nor disturbed.

fio is linked to the libraries of storage systems that no test uses, 80 MB with all that these need, and has every
function found when it begins. It gets libraries of the same names instead, in which these functions end the program.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from hil.client import Node

HOME = "/run/programs"
"""In the guest; ``bin`` below it has the programs by their names."""
ENVIRONMENT = (
    f"export PATH={HOME}/bin:$PATH HOME={HOME} GIT_EXEC_PATH={HOME}/bin GIT_CONFIG_NOSYSTEM=1 GIT_TEMPLATE_DIR="
    " GIT_AUTHOR_NAME=nobody GIT_AUTHOR_EMAIL=nobody@example.invalid"
    " GIT_COMMITTER_NAME=nobody GIT_COMMITTER_EMAIL=nobody@example.invalid"
)
"""To be put before a shell command that uses them."""
INSTALL_LIMIT_S = 300.0
KEPT = {"fio": {"libc", "libm", "libz", "libaio", "libnuma", "libdl", "libpthread", "librt", "libgcc_s"}}
"""Of these programs only such libraries are brought; those that are left out have none of its own functions."""


class ProgramMissing(Exception):
    """The host does not have it."""


def install(node: Node, *names: str) -> int:
    """Bring the programs to the node; bytes that went over the wire. Raises ProgramMissing, LaboratoryError."""
    archive = packed(*names)
    place = f"{{ grep -q ' {HOME} ' /proc/mounts || {{ mkdir -p {HOME} && mount -t tmpfs programs {HOME}; }}; }}"
    node.send(f"{place} && tar -xzf - -C {HOME}", archive, timeout=INSTALL_LIMIT_S)
    return len(archive)


@cache
def packed(*names: str) -> bytes:
    """The archive, to be unpacked in HOME. Raises ProgramMissing."""
    file = io.BytesIO()
    libraries: dict[str, bytes] = {}
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for name in names:
            program = _program(name)
            loader, needed = _needs(program)
            libraries |= needed
            _add(archive, f"program/{name}", program.read_bytes())
            start = f"exec {HOME}/lib/{loader} --library-path {HOME}/lib {HOME}/program/{name}"
            _add(archive, f"bin/{name}", f'#!/bin/sh\n{start} "$@"\n'.encode())
        for library, contents in sorted(libraries.items()):
            _add(archive, f"lib/{library}", contents)
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, contents: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(contents), 0o755
    archive.addfile(entry, io.BytesIO(contents))


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(f"{name} is not on this host (see packages.txt)")
    return Path(found).resolve()


def _needs(program: Path) -> tuple[str, dict[str, bytes]]:
    """The name of its loader; all libraries by the names under which they are looked for, the loader too."""
    said = _said("ldd", program)
    found = {name: Path(path) for name, path in re.findall(r"^\s*(\S+) => (/\S+) \(0x", said, re.MULTILINE)}
    [loader] = re.findall(r"^\s*(/\S+) \(0x", said, re.MULTILINE)
    kept = KEPT.get(program.name)
    if kept is not None:
        left_out = [name for name in _linked(program) if name.partition(".so")[0] not in kept]
        needed = {name: path.read_bytes() for name, path in found.items() if name.partition(".so")[0] in kept}
        needed |= {name: _hollow(program, name, found[name]) for name in left_out if name in found}
    else:
        needed = {name: path.read_bytes() for name, path in found.items()}
    return Path(loader).name, needed | {Path(loader).name: Path(loader).read_bytes()}


def _linked(program: Path) -> list[str]:
    """The libraries that it names itself."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", _said("readelf", "-d", program))


def _hollow(program: Path, name: str, library: Path) -> bytes:
    """A library called so, in which all that the program takes from that one ends it."""
    there = _symbols("--defined-only", library)
    asked = {symbol: version for symbol, version in _symbols("--undefined-only", program).items() if symbol in there}
    source = "".join(f"void {symbol}(void) {{ __builtin_trap(); }}\n" for symbol in sorted(asked))
    versions = "".join(
        f"{version} {{ {''.join(f'{one};' for one in sorted(asked) if asked[one] == version)} }};\n"
        for version in sorted(set(asked.values()) - {""})
    )
    with tempfile.TemporaryDirectory() as directory:
        made, script = Path(directory, name), Path(directory, "versions")
        script.write_text(versions)
        options = ["-shared", "-nostdlib", "-w", "-fno-builtin", f"-Wl,-soname,{name}"]
        options += [f"-Wl,--version-script,{script}"] if versions else []
        subprocess.run(["gcc", *options, "-x", "c", "-o", str(made), "-"], input=source, text=True, check=True)
        return made.read_bytes()


def _symbols(which: str, file: Path) -> dict[str, str]:
    """Name and version; an empty one if it has none."""
    found = [line.split()[-1].partition("@") for line in _said("nm", "-D", which, file).splitlines()]
    return {name: version.removeprefix("@") for name, _, version in found}


def _said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def shell(node: Node, lines: Iterable[str] | str, timeout: float = 300.0) -> str:
    """What the commands print; they stop at the first that fails. Raises AssertionError with all they said."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    done = node.ssh(f"{ENVIRONMENT}; set -e\n{text}", timeout=timeout)
    assert done.exited == 0, f"node {node.id}: status {done.exited}: {text}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)
