"""The avatars of a replica, and the pictures that are put behind them."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.common.artifacts import ArtifactRef
from services.common.storage import ObjectRef, ObjectStore
from services.renderer.cache import LeaseCache, Plan, Size
from services.renderer.loading import (
    LoadedAvatar,
    discard_avatar,
    expected_size,
    load_avatar,
    read_manifest,
)
from services.renderer.settings import RendererSettings
from synctalk.bundle import BundleManifest
from synctalk.media import read_picture

Image = NDArray[np.uint8]
_PICTURES = 4


class Avatars:
    """Leases avatars, whose footage lies in ``folder``."""

    def __init__(self, settings: RendererSettings, store: ObjectStore, folder: Path) -> None:
        self._device = settings.renderer_device
        self._store, self._folder = store, folder
        budget = Size(settings.renderer_cache_bytes, settings.renderer_cache_disk_bytes)
        self._cache: LeaseCache[str, LoadedAvatar] = LeaseCache(budget, discard_avatar)
        # Segments of a dub share one.
        self.picture = lru_cache(_PICTURES)(self._fetch_picture)

    def lease(self, bundle: ArtifactRef) -> AbstractAsyncContextManager[LoadedAvatar]:
        """The avatar, which stays while the context is open; see :meth:`LeaseCache.lease`."""

        async def plan() -> Plan[LoadedAvatar]:
            size = await asyncio.to_thread(expected_size, self._store, bundle)

            async def load() -> LoadedAvatar:
                return await asyncio.to_thread(
                    load_avatar, self._store, bundle, self._folder, self._device, size
                )

            return Plan(size, load)

        return self._cache.lease(key_of(bundle), plan)

    def peek(self, bundle: ArtifactRef) -> LoadedAvatar | None:
        """The avatar, if it is in memory."""
        return self._cache.peek(key_of(bundle))

    def cached(self) -> list[str]:
        """Keys of those that are in memory or on their way."""
        return self._cache.keys()

    def drop(self, key: str) -> None:
        """Forget an avatar and its footage; see :meth:`LeaseCache.drop`."""
        self._cache.drop(key)

    async def manifest(self, bundle: ArtifactRef) -> BundleManifest:
        """Of any avatar; loads no more than that."""
        if (loaded := self.peek(bundle)) is not None:
            return loaded.avatar.manifest
        return await asyncio.to_thread(read_manifest, self._store, bundle)

    def _fetch_picture(self, ref: ObjectRef) -> Image:
        """An uploaded picture, decoded in the limited process."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / "picture"
            self._store.get_file(ref, path)
            return read_picture(path)


def key_of(bundle: ArtifactRef) -> str:
    """Its name in the cache."""
    return f"{bundle.prefix}@{bundle.listing.sha256}"
