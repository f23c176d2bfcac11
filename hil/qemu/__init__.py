"""The machines: QEMU guests through libvirt."""
