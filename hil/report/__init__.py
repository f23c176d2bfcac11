"""Pictures of a run: one page that needs nothing but a browser, a trace for Perfetto's viewer, two runs side by side,
an index over many (docs/report.md). All of it is a function of what the run has left; nothing asks a cluster.

==============  ====================================================================================================
``run``         reads the directory of a run
``lanes``       the states of each node and level over the time, as the view tells them
``spans``       faults, services, messages: what the events hold besides
``disk``        commands of the ledger, put on the clock of the events
``consoles``    lines of the consoles, with their times
``first``       the first violation, and what led to it
``data``        all of that as the plain data that the page's own program draws
``page``        the page: a template, style and program (``page/``), and the data
``compare``     where two runs differ
``index``       many runs
``perfetto``    the same as a trace
==============  ====================================================================================================
"""
