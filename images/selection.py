"""What of a package's files goes into the guest. Paths are relative to the root, after the merge of /usr.

The guest is for one purpose, and every megabyte is read through an emulated disk: documentation, translations,
character set tables, headers and the parts of Python that need a screen, a database or a test suite stay out.
"""

from __future__ import annotations

import re

# Wanted for nothing but their dependencies or versions.
NOT_UNPACKED = re.compile(
    "libgssapi-krb5-2|libk5crypto3|libkrb5-3|libkrb5support0|libssl3|libtirpc.*|linux-image-cloud-amd64|openssh-client"
)

TOP_LEVEL_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")  # symbolic links into usr/

# OpenSSL (_ssl, _hashlib) costs 5 MB, and the loading of its library whenever hashlib is imported, which has its own
# implementations. The rest needs a library that is left out, or only serves tests.
PYTHON_EXTENSIONS_DROPPED = (
    "_codecs_.*|_crypt|_ctypes_test|_curses.*|_dbm|_hashlib|_multibytecodec|_sqlite3|_ssl|_test.*|_xx.*|xx.*|audioop|nis"
    "|ossaudiodev"
)
PYTHON_MODULES_DROPPED = (
    "__hello__|__phello__|aifc|antigravity|cgi|cgitb|chunk|config-[^/]*|crypt|curses|dbm|distutils|doctest|ensurepip"
    "|idlelib|imaplib|imghdr|lib2to3|mailbox|mailcap|msilib|nntplib|ossaudiodev|poplib|pydoc_data|smtpd|smtplib|sndhdr"
    "|sqlite3|ssl|sunau|telnetlib|test|this|tkinter|turtle|turtledemo|unittest/test|venv|wave|wsgiref|xdrlib|xmlrpc"
)

DROPPED = re.compile(
    "|".join(
        (
            r"usr/share/(?!terminfo)",
            r"usr/(include|games|local)/",
            r"boot/",
            r"var/",
            r"etc/(ssh|python3.11|terminfo|netconfig|ld\.so\.conf\.d|default|init\.d|bash_completion\.d)(/|$)",
            r"usr/lib/(systemd|binfmt\.d|tmpfiles\.d|modules|valgrind|perl|udev)/",
            r"usr/lib/x86_64-linux-gnu/(gconv|engines-3|ossl-modules|perl.*|audit|xtables|tc)/",
            r"usr/lib/python3\.11/lib-dynload/(" + PYTHON_EXTENSIONS_DROPPED + r")\.cpython-",
            r"usr/lib/python3\.11/(" + PYTHON_MODULES_DROPPED + r")(/|\.py$)",
            r"usr/lib/python3\.11/(sitecustomize\.py|EXTERNALLY-MANAGED|LICENSE\.txt)$",
            r"usr/(bin|sbin)/(ss|lnstat|nstat|ctstat|rtstat|rdma|rtacct|rtmon|routel|arpd|tipc|vdpa|dcb|devlink|genl)$",
            r"usr/bin/(dropbearconvert|dbclient)$",
            r"usr/lib/dropbear/",
        )
    )
)


def merged_path(name: str) -> str:
    """A path of a package's archive (``./lib/x``) as it is in a merged root (``usr/lib/x``); "" for the root itself."""
    path = name.removeprefix(".").strip("/")
    top = path.split("/", 1)[0]
    return f"usr/{path}" if top in TOP_LEVEL_MERGED else path


def is_wanted(path: str) -> bool:
    """Whether a file (never a directory) goes into the guest."""
    return DROPPED.match(path) is None


def is_unpacked(package: str) -> bool:
    """Whether anything of a package is used."""
    return NOT_UNPACKED.fullmatch(package) is None
