"""The shared disk: a SCSI target that speaks iSCSI, sees every command of every node in one order, and records it.

Runs in a process of its own (``python -m hil.scsi``). ``hil.scsi.iscsi`` is the transport (RFC 7143), the modules
beside it the device (SPC-4, SBC-3). ``identity`` and ``ledger`` are what other parts of ``hil`` import.
"""
