"""Level 20, the virtual disk manager: virtual disks as extents on the shared disk (docs/vdm.md)."""
