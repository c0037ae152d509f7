"""The object store of a suite, as its services see it."""

from __future__ import annotations

from services.common.settings import StorageSettings
from services.common.storage import ObjectStore
from services.suite.settings import SuiteSettings

_PREFIX = "AVATAR_STORAGE__"


def store(settings: SuiteSettings) -> ObjectStore:
    """The bucket that the services use; nothing is asked of the server yet."""
    given = {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in settings.variables.items()
        if name.startswith(_PREFIX)
    }
    return ObjectStore(StorageSettings.model_validate(given))
