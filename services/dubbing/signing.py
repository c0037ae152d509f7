"""The last step of a dub: its file says, signed, what it is and what it was made from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from services.common import logs
from services.common.artifacts import ArtifactRef, artifact_files
from services.common.dubs import DubRequest
from services.common.errors import CorruptData, Unavailable
from services.common.provenance import ProvenanceSettings
from services.common.storage import ObjectStore
from synctalk.errors import BackendError
from synctalk.provenance import Claim, ManifestSigner, provenance_from_environment, sign_file

log = logs.logger(__name__)

_MANIFEST = "manifest.json"
_WAITS_S = (1.0, 5.0, 15.0)  # for a signer that is away; later ones are new attempts at the job


async def sign_dub(
    path: Path, name: str, request: DubRequest, store: ObjectStore, settings: ProvenanceSettings
) -> Path | None:
    """Sign the video ``path`` in place; the sidecar's path where it cannot hold its manifest.

    Args:
        name: of the dub, ``tenants/{tenant}/dubs/{dub}``.

    Raises:
        Unavailable: the signer is away, for longer than is waited for it.
    """
    if not settings.sign:
        return None
    provenance = provenance_from_environment(settings.environment())
    source_sha256, consent = await asyncio.to_thread(_footage, store, request.bundle)
    mark_id = provenance.mark_id(name) if provenance.watermark else 0
    claim = Claim(path.name, mark_id, source_sha256, consent)
    return await _patiently(path, claim, provenance.signer())


async def _patiently(path: Path, claim: Claim, signer: ManifestSigner) -> Path | None:
    for wait_s in _WAITS_S:
        try:
            return await asyncio.to_thread(sign_file, path, path, claim, signer)
        except BackendError as error:
            _log(error, wait_s)
            await asyncio.sleep(wait_s)
    try:
        return await asyncio.to_thread(sign_file, path, path, claim, signer)
    except BackendError as error:
        _log(error, None)
        raise Unavailable(  # the tenant is not told what a KMS says to its operator
            "the video cannot be signed at the moment",
            reason=error.reason,
            remedy="Try again later. The operator's log says why.",
        ) from None


def _log(error: BackendError, wait_s: float | None) -> None:
    log.error("signing failed", reason=error.reason, problem=error.message, again_in_s=wait_s)


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
