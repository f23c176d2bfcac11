"""What ``./run bench boot`` measures with."""
