"""What ``./run bench scsi`` is made of.

``debian`` (tgt unpacked), ``scratch`` (a directory), ``processes`` (start, pin, measure, end), ``targets`` (ours and
tgt), ``perf`` (the load, by ``iscsi-perf``), ``figures`` (medians and bounds), ``table`` (for people).
"""
