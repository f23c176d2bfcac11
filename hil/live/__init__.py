"""The live view of a cluster, in a terminal and in a browser: ``hil status --watch``, ``hil status --serve PORT``.

:mod:`hil.live.source` reads the events and carries orders out, in threads; everything else runs in the application's
own one and draws what :class:`hil.view.View` makes of the events.
"""
