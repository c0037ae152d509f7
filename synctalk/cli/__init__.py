"""The command line: the public API with a progress display, words for people and exit codes."""

from synctalk.cli.app import app, main

__all__ = ["app", "main"]
