"""C2PA: what a video is and what it was made from, signed and bound to its bytes.

A file that cannot hold a manifest gets it as ``NAME.c2pa`` beside it. Any re-writing of a signed
file, a copy of its streams into a new container too, breaks or strips the manifest: sign last.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import c2pa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from synctalk.errors import InputError
from synctalk.media.manifest import SIDECAR

WATERMARK_ALGORITHM = "org.synctalk.watermark.1"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_CREATED = _SOURCE + "compositeWithTrainedAlgorithmicMedia"
_ALONE = _SOURCE + "trainedAlgorithmicMedia"
_WEBM = "video/webm"  # cannot hold a manifest
_MIMES = {".mov": "video/quicktime", ".webm": _WEBM}

SignCallback = Callable[[bytes], bytes]


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


@dataclass(frozen=True)
class ManifestSigner:
    """Who signs.

    Args:
        chain_pem: certificates, the signer's first.
        sign: gives the signature of bytes: ECDSA P-256 with SHA-256, 64 bytes r and s. A key in a
            KMS or HSM signs here; one in a file by :func:`file_signer`.
    """

    chain_pem: str
    sign: SignCallback


def file_signer(chain: Path, key: Path) -> ManifestSigner:
    """Signs with the key of a PEM file.

    Raises:
        InputError: a file is missing, or the key is no P-256 key.
    """
    try:
        chain_pem = chain.read_text()
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{key}: no private key and certificate chain can be read ({error}).",
            reason="SIGNING_KEY",
            remedy="Give a PEM chain, the signer's certificate first, and an unencrypted PEM key.",
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise InputError(
            f"{key}: not an ECDSA P-256 key.",
            reason="SIGNING_KEY",
            remedy="Use a certificate for an ECDSA P-256 key (ES256).",
        )

    def sign(data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return ManifestSigner(chain_pem, sign)


def sign_file(path: Path, out: Path, claim: Claim, signer: ManifestSigner) -> Path | None:
    """Write ``path`` signed to ``out``, which appears whole; the sidecar's path if it needs one.

    Args:
        path: WebM or MOV where ``out`` is named so, else MP4; it may be ``out`` itself.

    Raises:
        InputError: the signer fails, its certificate is refused, or the file is of another kind.
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
    native = c2pa.Signer.from_callback(
        callback=signer.sign, alg=c2pa.C2paSigningAlg.ES256, certs=signer.chain_pem
    )
    # The library of c2pa would otherwise trust nobody, and say so when it signs.
    settings = c2pa.Settings.from_dict({"verify": {"verify_after_sign": False}})
    with (
        native,
        c2pa.Context(settings) as context,
        c2pa.Builder(_definition(claim, mime), context) as builder,
        path.open("rb") as source,
        out.open("w+b") as target,
    ):
        if not embeds:
            builder.set_no_embed()
        return bytes(builder.sign(native, mime, source, target) or b"")


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
