"""Where the networks and parameters of the metrics are found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from synctalk.face.models import model_folders


@dataclass(frozen=True)
class QualityModels:
    """Folders searched for the metrics' files.

    Args:
        folder: searched first, if given; then ``SYNCTALK_MODELS`` and the other folders of
            ``synctalk.face.models``, then torch's cache (``$TORCH_HOME/hub/checkpoints``).
    """

    folder: Path | None = None

    def folders(self) -> list[Path]:
        """Folders in the order they are searched."""
        home = os.environ.get("TORCH_HOME", str(Path.home() / ".cache" / "torch"))
        own = [self.folder] if self.folder else []
        return [*own, *model_folders(), Path(home) / "hub" / "checkpoints"]

    def find(self, *names: str) -> Path | None:
        """The first of the files that exists, in the first folder that has one."""
        places = (folder / name for folder in self.folders() for name in names)
        return next((place for place in places if place.is_file()), None)
