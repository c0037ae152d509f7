"""C2PA: what a video is and what it was made from, signed and bound to its bytes.

A file that cannot hold a manifest gets it as ``NAME.c2pa`` beside it. Any re-writing of a signed
file, a copy of its streams into a new container too, breaks or strips the manifest: sign last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import c2pa

from synctalk.errors import InputError, SyncTalkError
from synctalk.media.manifest import SIDECAR
from synctalk.provenance.signers import ManifestSigner

WATERMARK_ALGORITHM = "org.synctalk.watermark.1"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_CREATED = _SOURCE + "compositeWithTrainedAlgorithmicMedia"
_ALONE = _SOURCE + "trainedAlgorithmicMedia"
_WEBM = "video/webm"  # cannot hold a manifest
_MIMES = {".mov": "video/quicktime", ".webm": _WEBM}

_SETTINGS = {
    # It would otherwise trust nobody, and say so when it signs.
    "verify": {"verify_after_sign": False},
    # By itself it holds a file in memory whole, and then 512 MiB of it to hash them.
    "core": {"backing_store_memory_threshold_in_mb": 8, "merkle_tree_chunk_size_in_kb": 1024},
}


@dataclass(frozen=True)
class Claim:
    """What is said of a video.

    Args:
        title: its name.
        mark_id: what its watermark carries; 0: it has none.
        source_sha256: of the consented footage that the avatar was made from.
        consent_id: the consent; empty: it is not on record.
        composite: whether filmed pictures are in it; otherwise everything is generated.
    """

    title: str
    mark_id: int
    source_sha256: str
    consent_id: str = ""
    composite: bool = True


def sign_file(path: Path, out: Path, claim: Claim, signer: ManifestSigner) -> Path | None:
    """Write ``path`` signed to ``out``, which appears whole; the sidecar's path if it needs one.

    Args:
        path: WebM or MOV where ``out`` is named so, else MP4; it may be ``out`` itself.

    Raises:
        InputError: the certificate is refused, or the file is of another kind.
        BackendError: the signer fails; it may do better later.
    """
    mime = _MIMES.get(out.suffix.lower(), "video/mp4")
    partial = out.with_name(f".{out.name}.{os.getpid()}.signed")
    embeds = mime != _WEBM
    try:
        manifest = _sign(path, partial if embeds else Path(os.devnull), mime, claim, signer, embeds)
        if embeds:
            os.replace(partial, out)
            return None
        sidecar = out.with_name(out.name + SIDECAR)
        partial.write_bytes(manifest)
        os.replace(partial, sidecar)
        if path != out:
            os.replace(path, out)
        return sidecar
    except c2pa.C2paError as error:
        raise InputError(
            f"{out}: the manifest cannot be signed ({error}).",
            reason="SIGNING_REFUSED",
            remedy="Check that the certificate chain is one that C2PA allows, and its key's.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _sign(
    path: Path, out: Path, mime: str, claim: Claim, signer: ManifestSigner, embeds: bool
) -> bytes:
    failed: list[SyncTalkError] = []

    def sign(data: bytes) -> bytes:
        try:
            return signer.signature(data)
        except SyncTalkError as error:  # the library would not hand it on
            failed.append(error)
            return b""

    algorithm = c2pa.C2paSigningAlg[signer.algorithm.upper()]
    settings = c2pa.Settings.from_dict(_SETTINGS)
    try:
        with (
            c2pa.Signer.from_callback(sign, algorithm, signer.chain_pem) as native,
            c2pa.Context(settings) as context,
            c2pa.Builder(_definition(claim, mime), context) as builder,
            path.open("rb") as source,
            out.open("w+b") as target,
        ):
            if not embeds:
                builder.set_no_embed()
            return bytes(builder.sign(native, mime, source, target) or b"")
    except c2pa.C2paError:
        if failed:
            raise failed[0] from None
        raise


def _definition(claim: Claim, mime: str) -> dict[str, Any]:
    kind = _CREATED if claim.composite else _ALONE
    assertions: list[dict[str, Any]] = [
        {"label": "c2pa.actions.v2", "data": {"actions": [_created(claim, kind)]}}
    ]
    if claim.mark_id:
        blocks = [{"scope": {}, "value": f"{claim.mark_id:012x}"}]
        binding = {"alg": WATERMARK_ALGORITHM, "blocks": blocks}
        assertions.append({"label": "c2pa.soft-binding", "data": binding})
    return {
        "claim_generator_info": [{"name": "synctalk", "version": version("synctalk")}],
        "title": claim.title,
        "format": mime,
        "ingredients": [_ingredient(claim)],
        "assertions": assertions,
    }


def _created(claim: Claim, kind: str) -> dict[str, Any]:
    return {
        "action": "c2pa.created",
        "digitalSourceType": kind,
        "softwareAgent": {"name": "synctalk", "version": version("synctalk")},
        "description": "A person's likeness was made to speak by a trained model (AI-generated).",
    }


def _ingredient(claim: Claim) -> dict[str, Any]:
    """The footage, by its digest: it is private, and no part of the file."""
    consent = f", consent {claim.consent_id}" if claim.consent_id else ""
    return {
        "title": "consented footage of the person",
        "format": "video/mp4",
        "instance_id": f"sha256:{claim.source_sha256}",
        "relationship": "inputTo",
        "description": f"SHA-256 {claim.source_sha256}{consent}",
    }
