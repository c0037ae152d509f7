"""The ``avatar`` command line: runs the suite on one machine, and speaks ``/v1`` to any suite.

It never imports torch, and heavy modules only where a command needs them: it starts in a blink.
"""
