"""Files say, signed, what they are; whoever asks is told what is left of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from synctalk.errors import BackendError, InputError, MediaError
from synctalk.media import VideoPreset, VideoReader, VideoWriter
from synctalk.media.manifest import SIDECAR, read_manifest
from synctalk.provenance import (
    Claim,
    ManifestSigner,
    Provenance,
    Stamp,
    provenance_from_environment,
    sign_file,
    signing,
    verify,
)
from synctalk.provenance.certificates import DEVELOPMENT
from synctalk.provenance.settings import DEVELOPMENT_KEY
from synctalk.provenance.signing import WATERMARK_ALGORITHM

MARK = 0xABC123
FOOTAGE = "ab" * 32
CLAIM = Claim("dub.mp4", MARK, FOOTAGE, "consent-1")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Provenance:
    return Provenance(key=b"the key of an installation", folder=tmp_path_factory.mktemp("a") / "ca")


@pytest.fixture(scope="module")
def marked(ours: Provenance, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip's first frames with the mark, not signed."""
    path = tmp_path_factory.mktemp("marked") / "marked.mp4"
    reader = VideoReader(shared_data / "video/speech_20s_450.mp4")
    stamp = Stamp(ours, MARK, reader.width, reader.height, label=False)
    with VideoWriter(path, reader.width, reader.height) as writer:
        for frame in reader.iter_yuv(0, 12):
            stamp(frame)
            writer.write_yuv(frame)
    return path


@pytest.fixture(scope="module")
def signed(ours: Provenance, marked: Path) -> Path:
    out = marked.with_name("signed.mp4")
    assert sign_file(marked, out, CLAIM, ours.signer()) is None
    return out


def active(path: Path, provenance: Provenance) -> dict[str, object]:
    text = read_manifest(path, provenance.trusted_pem())
    assert text is not None
    store = json.loads(text)
    manifest: dict[str, object] = store["manifests"][store["active_manifest"]]
    return manifest


def remuxed(path: Path) -> Path:
    """The same packets in another file, as ``ffmpeg -c copy`` writes it."""
    out = path.with_name("remuxed.mp4")
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out


def test_a_signed_video_says_what_it_is_and_what_it_was_made_from(
    signed: Path, ours: Provenance
) -> None:
    manifest = active(signed, ours)
    assertions = {each["label"]: each["data"] for each in manifest["assertions"]}
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert assertions["c2pa.soft-binding"] == {
        "alg": WATERMARK_ALGORITHM,
        "blocks": [{"scope": {}, "value": f"{MARK:012x}"}],
    }
    (ingredient,) = manifest["ingredients"]
    assert ingredient["instance_id"] == f"sha256:{FOOTAGE}"
    assert "consent-1" in ingredient["description"]


def test_a_signed_video_plays_as_before(signed: Path, marked: Path) -> None:
    before, after = (list(VideoReader(path)) for path in (marked, signed))
    np.testing.assert_array_equal(after, before)


def test_verify_tells_signed_stripped_tampered_and_strange_apart(
    signed: Path, ours: Provenance, shared_data: Path
) -> None:
    whole = verify(signed, ours)
    assert (whole.verdict, whole.signature) == ("signed", "trusted")
    assert whole.mark_id == whole.signed_mark_id == MARK
    assert whole.development  # by the development authority
    assert whole.signer.startswith(DEVELOPMENT)

    stripped = verify(remuxed(signed), ours)
    assert (stripped.verdict, stripped.signature) == ("watermarked", "none")
    assert (stripped.mark_id, stripped.signed_mark_id) == (MARK, None)

    tampered = signed.with_name("tampered.mp4")
    content = bytearray(signed.read_bytes())
    content[-len(content) // 3] ^= 1
    tampered.write_bytes(content)
    assert read_manifest(tampered, ours.trusted_pem()) is not None
    changed = verify(tampered, ours)
    assert changed.signature == "broken"
    assert changed.verdict == "watermarked"

    theirs = Provenance(key=b"another installation's key", folder=signed.parent / "none")
    foreign = verify(signed, theirs)
    assert (foreign.verdict, foreign.signature, foreign.mark_id) == (
        "unknown", "unknown signer", None,
    )  # fmt: skip

    real = verify(shared_data / "video/glasses_5s_524.mp4", ours)
    assert (real.verdict, real.signature, real.mark_id) == ("unknown", "none", None)
    assert "does not mean" in real.words


def test_a_manifest_moved_to_another_video_is_noticed(
    signed: Path, marked: Path, ours: Provenance
) -> None:
    """A soft binding that names another mark than the frames carry."""
    moved = marked.with_name("moved.mp4")
    claim = replace(CLAIM, mark_id=MARK + 1)
    sign_file(marked, moved, claim, ours.signer())
    assert "another" in verify(moved, ours).words


def test_a_manifest_without_end_is_refused(
    marked: Path, ours: Provenance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read whole, and passed on by those who verify."""
    honest = signing._definition

    def flooding(claim: Claim, mime: str) -> dict[str, Any]:
        flood = {"label": "org.example.flood", "data": {"words": ["x"] * 120_000}}
        definition = honest(claim, mime)
        return {**definition, "assertions": [*definition["assertions"], flood]}

    monkeypatch.setattr(signing, "_definition", flooding)
    path = tmp_path / "flood.mp4"
    sign_file(marked, path, CLAIM, ours.signer())
    assert path.stat().st_size < 1 << 20
    with pytest.raises(MediaError) as error:
        verify(path, ours)
    assert error.value.reason == "DECODER_LIMIT"


def test_webm_is_signed_beside_itself(ours: Provenance, tmp_path: Path) -> None:
    path = tmp_path / "clear.webm"
    with VideoWriter(path, 64, 64, preset=VideoPreset.VP9_ALPHA) as writer:
        for grey in range(0, 200, 40):
            planes = (np.full((64 >> k, 64 >> k), grey, np.uint8) for k in (0, 1, 1))
            writer.write_cutout(tuple(planes), np.full((64, 64), 200, np.uint8))
    before = path.read_bytes()
    assert sign_file(path, path, CLAIM, ours.signer()) == tmp_path / f"clear.webm{SIDECAR}"
    assert path.read_bytes() == before
    assert verify(path, ours).signature == "trusted"
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert verify(path, ours).signature == "broken"


def test_a_long_video_is_signed_in_the_memory_of_a_short_one(
    ours: Provenance, tmp_path: Path
) -> None:
    long, short = (raw_video(tmp_path / f"{n}.mov", n) for n in (24, 1))
    assert long.stat().st_size > short.stat().st_size + (60 << 20)
    assert peak_of_signing(long, ours) < peak_of_signing(short, ours) + (16 << 20)
    assert verify(long, ours).signature == "trusted"
    with long.open("r+b") as file:  # every byte counts, also in the midst
        file.seek(32 << 20)
        file.write(b"x")
    assert verify(long, ours).signature == "broken"


def raw_video(path: Path, n_frames: int) -> Path:
    """3 MiB a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1024, 1024, "rgb24"
        for value in range(n_frames):
            pixels = np.full((1024, 1024, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


_SIGN = """
import resource, sys
from pathlib import Path
from synctalk.provenance import Claim, Provenance, sign_file
path, folder = map(Path, sys.argv[1:])
signer = Provenance(key=b"the key of an installation", folder=folder).signer()
sign_file(path, path, Claim(path.name, 1, "ab" * 32), signer)
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_of_signing(path: Path, provenance: Provenance) -> int:
    """Bytes of memory that a process took at most that did nothing else."""
    command = [sys.executable, "-c", _SIGN, str(path), str(provenance.folder)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


def test_a_key_elsewhere_signs_by_a_call(marked: Path, ours: Provenance, tmp_path: Path) -> None:
    asked: list[int] = []
    local = ours.signer()

    def remote(data: bytes) -> bytes:
        asked.append(len(data))
        return local.sign(data)

    sign_file(marked, tmp_path / "kms.mp4", CLAIM, ManifestSigner(local.chain_pem, remote))
    assert asked
    assert verify(tmp_path / "kms.mp4", ours).signature == "trusted"


def test_a_failing_signer_leaves_nothing(marked: Path, ours: Provenance, tmp_path: Path) -> None:
    def fail(data: bytes) -> bytes:
        raise OSError("the KMS is away")

    with pytest.raises(BackendError, match="the KMS is away") as error:
        sign_file(
            marked, tmp_path / "out.mp4", CLAIM, ManifestSigner(ours.signer().chain_pem, fail)
        )
    assert error.value.reason == "SIGNER_FAILED"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"\0\0\0\x18ftypisom" + b"x" * 200, "NOT_MEDIA"),
        (b"This is no media file.\n" * 50, "NOT_MEDIA"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 500, "NOT_A_PICTURE"),
        (b"", "FILE_EMPTY"),
    ],
)
def test_what_is_no_media_file_is_refused(
    content: bytes, outcome: str, ours: Provenance, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(MediaError) as error:
        verify(path, ours)
    assert error.value.reason == outcome


def test_the_environment_decides_and_everything_is_on_by_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    by_itself = provenance_from_environment({})
    assert by_itself.watermark
    assert by_itself.sign
    assert by_itself.key == DEVELOPMENT_KEY
    by_itself.log_what_is_off()
    assert "for development" in caplog.text
    caplog.clear()
    off = provenance_from_environment(
        {"AVATAR_PROVENANCE__WATERMARK": "off", "AVATAR_PROVENANCE__SIGN": "false"}
    )
    off.log_what_is_off()
    assert "frames are not watermarked: turned off" in caplog.text
    assert "videos are not signed: turned off" in caplog.text
    with pytest.raises(InputError, match="WATERMARK is 'maybe'"):
        provenance_from_environment({"AVATAR_PROVENANCE__WATERMARK": "maybe"})
    with pytest.raises(InputError, match="without its"):
        provenance_from_environment({"AVATAR_PROVENANCE__CHAIN": "/chain.pem"})


def test_the_key_is_never_shown() -> None:
    assert "secret-of-ours" not in repr(Provenance(key=b"secret-of-ours"))


def test_names_give_ids_that_only_the_key_foretells() -> None:
    ours, theirs = Provenance(key=b"one"), Provenance(key=b"two")
    names = [f"tenants/acme/dubs/{n}" for n in range(200)]
    assert len({ours.mark_id(name) for name in names}) == 200
    assert ours.mark_id(names[0]) == ours.mark_id(names[0]) != theirs.mark_id(names[0])


def test_many_processes_make_one_development_authority(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from synctalk.provenance.certificates import development_certificates as make\n"
        "print(make(Path(sys.argv[1])).root.read_text())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "ca")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    roots = {process.communicate()[0] for process in running}
    assert len(roots) == 1
    assert roots != {b""}
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]
    assert (tmp_path / "ca/key.pem").stat().st_mode & 0o077 == 0


def test_machines_that_share_a_key_verify_each_others_signatures(
    marked: Path, tmp_path: Path
) -> None:
    def machine(name: str, key: bytes) -> Provenance:
        return Provenance(key=key, watermark=False, folder=tmp_path / name)

    one, other, stranger = machine("1", b"shared"), machine("2", b"shared"), machine("3", b"own")
    signed = tmp_path / "signed.mp4"
    sign_file(marked, signed, CLAIM, one.signer())
    assert verify(signed, other).signature == "trusted"
    assert verify(signed, other).development
    assert verify(signed, stranger).signature == "unknown signer"


def test_verifying_needs_no_torch() -> None:
    code = "import sys, synctalk.provenance; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
