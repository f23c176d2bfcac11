"""Level 0: the membership database on the shared disk, who is alive, who is master, who is a member (S2, S3, S5)."""
