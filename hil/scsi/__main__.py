"""``python -m hil.scsi``."""

from hil.scsi.command_line import main

raise SystemExit(main())
