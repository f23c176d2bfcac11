"""The fence at the disk: who may write (spec S6)."""
