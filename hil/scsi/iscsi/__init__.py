"""iSCSI target side, RFC 7143: one connection per session, error recovery level 0.

Pure and tested alone: ``pdu`` (headers), ``framing`` (bytes to PDUs), ``digests`` (the same where they were agreed on),
``negotiation`` (text keys), ``login``, ``transfer`` (data of a write), ``session``, ``joining`` (answers to calls of
send). ``connection`` ties them to a socket.
"""
