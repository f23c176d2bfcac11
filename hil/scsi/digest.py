"""The ledger's digest of data: XXH3, 128 bits. It tells data apart; it does not resist a forger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import xxhash

DIGEST_BYTES: Final = 16

digest: Final[Callable[[bytes | bytearray | memoryview], bytes]] = xxhash.xxh3_128_digest
"""``DIGEST_BYTES`` of any buffer; 20 times as fast as a cryptographic hash, so that reads can have one as well."""
