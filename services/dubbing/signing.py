"""The last step of a dub: its file says, signed, what it is and what it was made from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from services.common.artifacts import ArtifactRef, artifact_files
from services.common.dubs import DubRequest
from services.common.errors import CorruptData
from services.common.provenance import ProvenanceSettings
from services.common.storage import ObjectStore
from synctalk.provenance import Claim, provenance_from_environment, sign_file

_MANIFEST = "manifest.json"


async def sign_dub(
    path: Path, name: str, request: DubRequest, store: ObjectStore, settings: ProvenanceSettings
) -> Path | None:
    """Sign the video ``path`` in place; the sidecar's path where it cannot hold its manifest.

    Args:
        name: of the dub, ``tenants/{tenant}/dubs/{dub}``.
    """
    if not settings.sign:
        return None
    provenance = provenance_from_environment(settings.environment())
    source_sha256, consent = await asyncio.to_thread(_footage, store, request.bundle)
    mark_id = provenance.mark_id(name) if provenance.watermark else 0
    claim = Claim(path.name, mark_id, source_sha256, consent)
    return await asyncio.to_thread(sign_file, path, path, claim, provenance.signer())


def _footage(store: ObjectStore, bundle: ArtifactRef) -> tuple[str, str]:
    """SHA-256 of the footage that an avatar was made from, and the consent that it names."""
    try:
        manifest = json.loads(store.get_bytes(artifact_files(store, bundle)[_MANIFEST]))
        return str(manifest["source_sha256"]), str(manifest.get("consent_id") or "")
    except (KeyError, ValueError) as error:
        raise CorruptData(
            f"{bundle.prefix}: its manifest does not name the footage that it was made from",
            reason="BUNDLE_WITHOUT_SOURCE",
            remedy="Train the avatar again.",
        ) from error
