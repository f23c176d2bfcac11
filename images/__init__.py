"""The guest image: what the nodes of a cluster boot, built from Debian packages without any privilege.

``ensure()`` is what users of this package want: the image for this checkout, from the cache or built.
"""

from images.builder import BUILD_BYTES, STAGES, build, ensure
from images.errors import BuildError
from images.image import Image, list_images

__all__ = ["BUILD_BYTES", "STAGES", "BuildError", "Image", "build", "ensure", "list_images"]
