"""The guest image: what the nodes of a cluster boot, built from Debian packages without any privilege.

``ensure()`` is what users of this package want: the image for this checkout, from the cache or built. Its names are
imported when they are asked for: a bench only needs ``images.cpio``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from images.builder import BUILD_BYTES, STAGES, build, ensure
    from images.errors import BuildError
    from images.image import Image, list_images

__all__ = ["BUILD_BYTES", "STAGES", "BuildError", "Image", "build", "ensure", "list_images"]

_HOMES = {"BuildError": "images.errors", "Image": "images.image", "list_images": "images.image"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'images' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "images.builder")), name)
