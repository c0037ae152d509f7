"""All services on one machine, as processes, kept alive by a supervisor of our own.

Own, because none of the kept ones (circus, supervisor, honcho) waits for a process to say that it
is ready, keeps the ports and secrets that the others are given, and finds what a killed supervisor
left. The parts: ``settings`` (one file), ``plan`` (which processes), ``supervisor`` (runs them),
``state`` (what it tells), ``control`` (start, stop, look), ``checks`` (what is wrong).
"""
