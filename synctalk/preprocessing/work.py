"""The working folder of a preprocessing run: which stages are done, their facts and timings."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synctalk.dataset import sha256_file
from synctalk.errors import InputError


class WorkFolder:
    """``OUT.preprocessing``; an older one of the same source and settings is taken up again.

    Args:
        final: the dataset that will be made.
        source: the footage.
        settings: what the result depends on besides the footage; JSON-able.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, final: Path, source: Path, settings: dict[str, Any]) -> None:
        self.folder = final.with_name(final.name + ".preprocessing")
        self._path = self.folder / "stages.json"
        self._parents = [p for p in self.folder.parents if not p.exists()]  # deepest first
        self.source_sha256 = sha256_file(source)
        identity = {"source": self.source_sha256, **settings}
        self._state: dict[str, Any] = {"identity": identity, "facts": {}, "timings_s": {}}
        if self._path.is_file():
            old = json.loads(self._path.read_text())
            if old["identity"] == identity:
                self._state = old
                return
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make()

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be made ({error.strerror}).",
                reason="OUTPUT_NOT_WRITABLE",
                remedy="Choose an --out folder in a place that you may write to.",
            ) from error

    @property
    def timings_s(self) -> dict[str, float]:
        """Seconds per finished stage."""
        timings: dict[str, float] = self._state["timings_s"]
        return timings

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON-able result of ``make``, from the last run if that finished it."""
        if name not in self._state["facts"]:
            start = time.monotonic()
            result = make()
            self._state["facts"][name] = result
            self._state["timings_s"][name] = round(time.monotonic() - start, 3)
            draft = self._path.with_suffix(".writing")
            draft.write_text(json.dumps(self._state))
            os.replace(draft, self._path)
        return self._state["facts"][name]

    def discard(self) -> None:
        """Remove the folder, and what had to be made to hold it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self._parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
