"""Where a file comes from: its signature, and the mark in its frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits
from synctalk.media.manifest import kind_of, read_manifest
from synctalk.media.picture import read_picture
from synctalk.media.samples import sample_frames
from synctalk.provenance.certificates import DEVELOPMENT
from synctalk.provenance.detection import Detection, Floats, detect, flatten
from synctalk.provenance.settings import Provenance, provenance_from_environment
from synctalk.provenance.signing import WATERMARK_ALGORITHM

Verdict = Literal["signed", "watermarked", "unknown"]
Signature = Literal["trusted", "unknown signer", "broken", "none"]
# Memory for 16 pictures of 10-bit 4K and as many threads that decode; helm/avatar knows it, too.
LIMITS = MediaLimits(max_file_bytes=2 << 30, memory_bytes=2 << 30, cpu_s_per_media_s=4.0)
_MANIFEST_LIMITS = replace(LIMITS, max_output_bytes=1 << 20)  # as JSON; it is passed on whole
_FRAMES = 16
_MAX_SIDE = 1280
_EDITED_S = 3.0  # a shorter video is taken for one piece


@dataclass(frozen=True)
class Verification:
    """What is known of a file.

    Args:
        verdict: ``signed``: whole as it was signed, by a trusted signer. ``watermarked``: not so,
            but a mark of this installation's key is in it. ``unknown``: neither; that does not
            mean that it is genuine.
        signature: ``broken`` means that the file was changed after it was signed.
        signer: who signed, as the certificate says.
        development: whether a development certificate or key is all that stands behind this.
        mark_id: what the mark carries; None: no mark was found.
        mark_score: how clear it is, standard deviations.
        mark_development: whether the mark was made with the key that everybody knows.
        signed_mark_id: the mark that the manifest names.
        manifest: the C2PA manifests and their validation, as they were read.
        words: all of this in a sentence or two.
    """

    verdict: Verdict
    signature: Signature
    signer: str
    development: bool
    mark_id: int | None
    mark_score: float | None
    mark_development: bool
    signed_mark_id: int | None
    manifest: Mapping[str, Any] | None
    words: str


@dataclass(frozen=True)
class _Signed:
    signature: Signature = "none"
    signer: str = ""
    mark_id: int | None = None
    manifest: Mapping[str, Any] | None = None


def verify(path: Path | str, provenance: Provenance | None = None) -> Verification:
    """Tell whether ``path``, an untrusted video or picture, was made here.

    Its manifest is read and its frames are decoded in limited processes.

    Args:
        provenance: whose marks are looked for and whose signers are trusted; None: as the
            environment says.

    Raises:
        MediaError: it is no media file, or too large.
    """
    path, provenance = Path(path), provenance or provenance_from_environment()
    signed = _signed(path, provenance)
    mark = find_mark(path, provenance.key)
    verdict: Verdict = "unknown"
    if signed.signature == "trusted":
        verdict = "signed"
    elif mark is not None:
        verdict = "watermarked"
    by_development = verdict == "signed" and signed.signer.startswith(DEVELOPMENT)
    return Verification(
        verdict,
        signed.signature,
        signed.signer,
        by_development or (mark is not None and provenance.development_key),
        mark.mark_id if mark else None,
        float(mark.score) if mark else None,
        mark is not None and provenance.development_key,
        signed.mark_id,
        signed.manifest,
        _words(signed, mark),
    )


def find_mark(path: Path, key: bytes) -> Detection | None:
    """The mark of ``key`` in an untrusted video or picture; None where there is none."""
    for flat in _looks(path):
        if (found := detect(flat, key)) is not None:
            return found
    return None


def _looks(path: Path) -> Iterator[Floats]:
    """What is searched: a picture; of a video all samples together, then each third of them."""
    if (kind_of(path) or "").startswith("image/"):
        yield flatten(cv2.cvtColor(read_picture(path), cv2.COLOR_RGB2GRAY))
        return
    samples = sample_frames(path, _FRAMES, max_side=_MAX_SIDE, limits=LIMITS)
    flats = [flatten(cv2.cvtColor(each.image, cv2.COLOR_RGB2GRAY)) for each in samples]
    if flats:
        yield np.mean(flats, axis=0, dtype=np.float32)
    if len(flats) >= 6 and samples[-1].time_s - samples[0].time_s > _EDITED_S:
        third = len(flats) // 3
        for first in (0, third, 2 * third):
            yield np.mean(flats[first : first + third], axis=0, dtype=np.float32)


def _signed(path: Path, provenance: Provenance) -> _Signed:
    try:
        text = read_manifest(path, provenance.trusted_pem(), _MANIFEST_LIMITS)
    except MediaError as error:
        if error.reason != "DAMAGED_MANIFEST":
            raise
        return _Signed("broken")
    if text is None:
        return _Signed()
    store = json.loads(text)
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    state = store.get("validation_state")
    signature: Signature = "broken"
    if state == "Trusted":
        signature = "trusted"
    elif state == "Valid":
        signature = "unknown signer"
    info = active.get("signature_info", {})
    names = (info.get("issuer"), info.get("common_name"))
    return _Signed(signature, ": ".join(filter(None, names)), _named_mark(active), store)


def _named_mark(manifest: Mapping[str, Any]) -> int | None:
    """What the manifest's soft binding names."""
    for assertion in manifest.get("assertions", ()):
        data = assertion.get("data", {})
        if isinstance(data, dict) and data.get("alg") == WATERMARK_ALGORITHM:
            try:
                return int(data["blocks"][0]["value"], 16)
            except (KeyError, IndexError, TypeError, ValueError):
                return None
    return None


def _words(signed: _Signed, mark: Detection | None) -> str:
    first = {
        "trusted": f"Made by AI: signed by {signed.signer}, and unchanged since.",
        "unknown signer": f"Signed by {signed.signer}, whom nobody here knows.",
        "broken": "It was changed after it was signed: its manifest does not hold.",
        "none": "It carries no signature.",
    }[signed.signature]
    if mark is None:
        second = "No watermark of this installation was found in it."
    else:
        second = f"Its frames carry this installation's watermark {mark.mark_id:012x}: made by AI."
        if signed.mark_id is not None and signed.mark_id != mark.mark_id:
            second += " The manifest names another one: it belongs to another video."
    if signed.signature in ("none", "unknown signer", "broken") and mark is None:
        second += " That does not mean that it is genuine."
    return f"{first} {second}"
