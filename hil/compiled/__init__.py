"""The simulator's modules as machine code: the same sources, translated by mypyc, for the simulator's processes only.

    place = cache.found()        where they are, if they were built from these very sources
    place = cache.built()        build them first, if need be: two to five minutes
    use.use(place)               in a process that has imported nothing of guestd yet

guestd in a guest, the tests and the mutations are interpreted. A run is the same run either way (docs/simulator.md).
Nothing in here imports guestd or the simulator.
"""
