"""Every error a caller may meet, in one tree.

    SyncTalkError
    ├── InputError            what was handed in cannot be used
    │   ├── MediaError        a video or audio file
    │   ├── FootageError      a readable video that cannot become an avatar
    │   ├── DatasetError      a SubjectDataset folder
    │   └── BundleError       an AvatarBundle folder
    ├── MissingModelError     a model file is not on this machine
    ├── BackendError          a device or native library is unusable
    ├── TrainingError         training cannot go on
    └── Cancelled             the caller asked to stop; the state left behind is resumable

Each carries a stable machine-readable ``reason`` and a ``remedy`` for a person; services map the
class to a status code and put both into the error details.
"""

from __future__ import annotations


class SyncTalkError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what was wrong and where (file, frame or field).
        reason: stable UPPER_SNAKE identifier for programs.
        remedy: what the user can do about it, one sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, reason: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__.upper()
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InputError(SyncTalkError):
    """What was handed in cannot be used."""

    exit_code = 3


class MediaError(InputError):
    """A video or audio file that cannot be opened, decoded or accepted."""


class FootageError(InputError):
    """A readable video whose content cannot become an avatar (no face, too short, …)."""


class DatasetError(InputError):
    """A folder that is not a whole SubjectDataset of a known version."""


class BundleError(InputError):
    """A folder that is not a whole AvatarBundle of a known version."""


class MissingModelError(SyncTalkError):
    """A model file that is needed is not on this machine."""

    exit_code = 4


class BackendError(SyncTalkError):
    """A device or native library is unusable."""

    exit_code = 4


class TrainingError(SyncTalkError):
    """Training cannot go on (for instance non-finite loss after several roll-backs)."""

    exit_code = 5


class Cancelled(SyncTalkError):
    """The caller asked to stop; what was written so far can be resumed."""

    exit_code = 130
