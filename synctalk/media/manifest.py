"""What an untrusted file says of its own making (C2PA), read in the limited process."""

from __future__ import annotations

import tempfile
from pathlib import Path

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.sandbox import Request, run_limited

SIDECAR = ".c2pa"
"""What follows a file's name in the name of its manifest, where the file cannot hold one."""
_LIMITS = MediaLimits(max_file_bytes=2 << 30, max_output_bytes=16 << 20)
_MAGICS = {
    b"\x1aE\xdf\xa3": "video/webm",
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}
_MANIFEST, _TRUSTED, _BESIDE = "manifest.json", "trusted.pem", "sidecar.c2pa"


def read_manifest(src: Path | str, trusted_pem: str, limits: MediaLimits = _LIMITS) -> str | None:
    """The manifests of ``src``, or of the sidecar beside it, as JSON with their validation.

    Args:
        src: a video or picture.
        trusted_pem: authorities whose signatures count as trusted.

    Returns None where there is no manifest.

    Raises:
        MediaError: ``DAMAGED_MANIFEST``, or what is wrong with the file itself.
    """
    src = Path(src).absolute()
    check_file(src, limits)
    sidecar = src.with_name(src.name + SIDECAR)
    with tempfile.TemporaryDirectory(prefix="synctalk-manifest-") as name:
        folder = Path(name)
        (folder / _TRUSTED).write_text(trusted_pem)
        if sidecar.is_file():
            check_file(sidecar, MediaLimits(max_file_bytes=limits.max_output_bytes))
            (folder / _BESIDE).write_bytes(sidecar.read_bytes())
        found = run_limited(Request("manifest", str(src), limits, name))["found"]
        return (folder / _MANIFEST).read_text() if found else None


def read_manifest_here(request: Request) -> dict[str, bool]:
    """:func:`read_manifest` in this process; only for the limited one."""
    import c2pa  # here: nothing else that is decoded needs it

    src, folder = Path(request.src), Path(request.out)
    kind, beside = kind_of(src), folder / _BESIDE
    if kind is None or (kind == "video/webm" and not beside.is_file()):  # which holds none itself
        return {"found": False}
    # Nothing that a stranger's file names is fetched.
    verify = {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}
    settings: dict[str, object] = {"verify": verify}
    if trusted := (folder / _TRUSTED).read_text():
        settings["trust"] = {"trust_anchors": trusted}
    try:
        with c2pa.Context(c2pa.Settings.from_dict(settings)) as context, src.open("rb") as stream:
            manifest = beside.read_bytes() if beside.is_file() else None
            with c2pa.Reader(kind, stream, manifest, context=context) as reader:
                (folder / _MANIFEST).write_text(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return {"found": False}
    except c2pa.C2paError as error:
        raise MediaError(
            f"{src}: its manifest cannot be read ({error}).",
            reason="DAMAGED_MANIFEST",
            remedy="Get the file from where it was made.",
        ) from error
    return {"found": True}


def kind_of(src: Path) -> str | None:
    """MIME type by content, of the kinds whose manifests are read."""
    with src.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:10] == b"qt" else "video/mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), None)
