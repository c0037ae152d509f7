"""What is left of a job in the object store when it has ended: what its record names, no more."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.storage import ObjectStore


def sweep_all_but(store: ObjectStore, prefix: str, keep: Iterable[str]) -> None:
    """Delete the objects under ``prefix`` but those whose key is in ``keep`` or lies under it."""
    kept = tuple(keep)
    for found in store.list(prefix):
        if not any(found.key == key or found.key.startswith(f"{key}/") for key in kept):
            store.delete(found.key)
