"""What `synctalk preprocess` does with files that are not good footage: a table.

Refusals go through the real command line: exit code 3, the file named, what to do, nothing left
behind, no traceback. Sources that are odd but usable (10 and 60 fps, a wrong extension, a container
that understates its length) are followed through the library to the end of normalising, where frame
rate, name and container cease to matter; what comes then is the same for all (test_cli_demo).
"""

from __future__ import annotations

import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from synctalk import preprocess
from synctalk.errors import Cancelled
from synctalk.media import VideoReader, read_audio, write_wav
from synctalk.preprocessing.pipeline import FILMED_SOUND
from synctalk.progress import ProgressEvent

SAMPLE = Path(__file__).parents[2] / "samples" / "portrait.mp4"
SECONDS, SIDE, RATE = 13, 256, 16_000


@dataclass(frozen=True)
class Person:
    """The first seconds of the sample: frames [SIDE, SIDE, 3] at 25 a second, and the voice."""

    frames: list[np.ndarray]
    wav: np.ndarray

    def at(self, fps: float) -> Iterator[np.ndarray]:
        """The same seconds at another frame rate."""
        return (self.frames[int(k * 25 / fps)] for k in range(int(SECONDS * fps)))


@pytest.fixture(scope="module")
def person() -> Person:
    reader = VideoReader(SAMPLE).iter_rgb(0, 25 * SECONDS)
    frames = [cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in reader]
    return Person(frames, read_audio(SAMPLE, RATE)[: RATE * SECONDS])


def encode(
    path: Path,
    frames: Iterator[np.ndarray] | Sequence[np.ndarray],
    wav: np.ndarray | None = None,
    *,
    fps: int = 25,
    container: str = "mp4",
    fast_start: bool = False,
) -> Path:
    """H.264 and AAC, as quickly as can be."""
    options = {"movflags": "+faststart"} if fast_start else {}
    with av.open(str(path), "w", format=container, container_options=options) as out:
        video = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "23"})
        sound = None if wav is None else out.add_stream("aac", rate=RATE, layout="mono")
        for k, image in enumerate(frames):
            if k == 0:
                video.height, video.width, _ = image.shape
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if wav is not None and sound is not None:
            for start in range(0, len(wav), 1024):
                block = av.AudioFrame.from_ndarray(wav[None, start : start + 1024], "fltp", "mono")
                block.sample_rate, block.pts = RATE, start
                block.time_base = Fraction(1, RATE)
                out.mux(sound.encode(block))
            out.mux(sound.encode(None))
    return path


def claim_duration(matroska: Path, seconds: float) -> Path:
    """Overwrite what a Matroska file says of its own length (element 0x4489, a float of 8)."""
    data = bytearray(matroska.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 1000 * seconds)
    matroska.write_bytes(data)
    return matroska


def synctalk_preprocess(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "synctalk", "preprocess", str(source), "--out", str(out)]
    return subprocess.run(
        [*command, "--json", *options],
        capture_output=True, text=True, check=False, env=environment, timeout=300,
    )  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    reason: str
    message: str
    progress: str


def refused(source: Path, out: Path | None = None) -> Refusal:
    """Give ``source`` to the command line, which must refuse it in the promised way."""
    out = out or source.parent / "made" / "for" / "person.dataset"
    before = sorted(source.parent.rglob("*"))
    done = synctalk_preprocess(source, out)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(source.parent.rglob("*")) == before, "something was left behind"
    answer = json.loads(done.stdout)
    error = answer["error"]
    assert (answer["ok"], answer["exit_code"]) == (False, 3)
    assert str(source) in error["message"]
    assert len(error["remedy"]) > 10
    said = " ".join(done.stderr.split())
    assert " ".join(error["message"].split()) in said
    assert " ".join(error["remedy"].split()) in said
    return Refusal(error["reason"], error["message"], done.stderr)


def refused_unseen(source: Path) -> Refusal:
    """As :func:`refused`, by what the file says of itself: no stage began, so nothing was decoded
    and no network loaded, whatever the file's length."""
    refusal = refused(source)
    assert "locate" not in refusal.progress
    return refusal


# Not a video at all.


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused_unseen(tmp_path / "gone.mp4").reason == "FILE_MISSING"


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "clips.mp4"
    folder.mkdir()
    assert refused_unseen(folder).reason == "NOT_A_FILE"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert refused_unseen(tmp_path / "empty.mp4").reason == "FILE_EMPTY"


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt"])
def test_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Not a video, whatever its name says.\n" * 200)
    assert refused_unseen(tmp_path / name).reason == "NOT_MEDIA"


@pytest.mark.parametrize("name", ["me.jpg", "me.png", "me.mp4"])
def test_a_picture(tmp_path: Path, person: Person, name: str) -> None:
    kind = ".png" if name == "me.png" else ".jpg"
    data = cv2.imencode(kind, cv2.cvtColor(person.frames[0], cv2.COLOR_RGB2BGR))[1]
    (tmp_path / name).write_bytes(data.tobytes())
    assert refused_unseen(tmp_path / name).reason == "NOT_MEDIA"


@pytest.mark.parametrize("name", ["clips.zip", "clips.mp4"])
def test_a_zip_with_a_good_video_in_it(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_STORED) as archive:
        archive.write(SAMPLE, "portrait.mp4")
    assert refused_unseen(tmp_path / name).reason == "NOT_MEDIA"


# Playlists: nothing that they name may be opened.


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """The address of a web server, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


PLAYLISTS: dict[str, Callable[[str], str]] = {
    "list.m3u8": lambda uri: f"#EXTINF:9,\n{uri}\n",
    "list.ffconcat": lambda uri: f"file '{uri}'\n",
    "list.mpd": lambda uri: (
        '<Representation id="0" bandwidth="1" mimeType="video/mp4">'
        f"<BaseURL>{uri}</BaseURL></Representation>"
    ),
}
FRAMES = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n{}#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\n{}",
    "list.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT60S"><Period><AdaptationSet>{}</AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_refused_and_nothing_it_names_is_opened(
    tmp_path: Path, visits: tuple[str, list[str]], name: str, renamed: bool
) -> None:
    """A named pipe stands for the local file: whoever opened it would wait there for ever, until
    the decoder's limit ends it as DECODER_STALLED."""
    address, asked = visits
    local = tmp_path / "local.mp4"
    os.mkfifo(local)
    uris = (f"{address}/remote.mp4", "local.mp4", str(local), f"file://{local}")
    playlist = tmp_path / (name + ".mp4" if renamed else name)
    playlist.write_text(FRAMES[name].format("".join(map(PLAYLISTS[name], uris))))
    assert refused_unseen(playlist).reason == "NOT_MEDIA"
    assert asked == []


# A video that lacks something.


@pytest.mark.parametrize(("fast_start", "reason"), [(False, "NOT_MEDIA"), (True, "INCOMPLETE")])
def test_a_truncated_mp4(tmp_path: Path, person: Person, fast_start: bool, reason: str) -> None:
    """With its index at the end nothing can be read; with it in front, the end is missed."""
    clip = encode(tmp_path / "cut.mp4", person.frames, person.wav, fast_start=fast_start)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) * 2 // 3])
    assert refused(clip).reason == reason


@pytest.mark.parametrize("name", ["voice.wav", "voice.mp4"])
def test_sound_alone(tmp_path: Path, person: Person, name: str) -> None:
    write_wav(tmp_path / name, person.wav, RATE)
    assert refused_unseen(tmp_path / name).reason == "NO_VIDEO"


def test_a_video_without_sound(tmp_path: Path, person: Person) -> None:
    clip = encode(tmp_path / "mute.mp4", person.frames)
    assert refused_unseen(clip).reason == "NO_AUDIO"


def test_four_seconds(tmp_path: Path, person: Person) -> None:
    clip = encode(tmp_path / "short.mp4", person.frames[:100], person.wav[: 4 * RATE])
    refusal = refused_unseen(clip)
    assert refusal.reason == "TOO_SHORT"
    assert "4.0 s" in refusal.message


def test_a_container_that_overstates_its_length(tmp_path: Path, person: Person) -> None:
    clip = encode(tmp_path / "liar.mkv", person.frames, person.wav, container="matroska")
    refusal = refused(claim_duration(clip, 60.0))
    assert refusal.reason == "INCOMPLETE"
    assert "60.0 s" in refusal.message
    assert "13.0 s" in refusal.message


def test_8k(tmp_path: Path, person: Person) -> None:
    large = cv2.resize(person.frames[0], (7680, 4320), interpolation=cv2.INTER_NEAREST)
    refusal = refused_unseen(encode(tmp_path / "8k.mp4", [large] * 2, person.wav))
    assert refusal.reason == "PICTURE_TOO_LARGE"
    assert "7680 x 4320" in refusal.message


# A video of the wrong thing: told from a few frames, before anything long begins.


def test_no_face(tmp_path: Path, person: Person) -> None:
    rng = np.random.default_rng(0)
    room = cv2.resize(rng.integers(60, 200, (6, 6, 3), np.uint8), (SIDE, SIDE))
    refusal = refused(encode(tmp_path / "room.mp4", [room] * 25 * SECONDS, person.wav))
    assert refusal.reason == "NO_FACE"
    assert "frames looked at (14, 41," in refusal.message
    assert "locate" in refusal.progress
    assert "normalise" not in refusal.progress


def test_two_faces(tmp_path: Path, person: Person) -> None:
    pairs = [np.hstack([f, f[:, ::-1]]) for f in person.frames]
    refusal = refused(encode(tmp_path / "couple.mp4", pairs, person.wav))
    assert refusal.reason == "SEVERAL_FACES"
    assert "12 of 12 frames looked at (14, 41," in refusal.message
    assert "normalise" not in refusal.progress


def test_a_face_that_is_there_half_of_the_time(tmp_path: Path, person: Person) -> None:
    """Refused after tracking, with its frames; an older dataset at the output stays as it was."""
    old = tmp_path / "person.dataset"
    old.mkdir()
    (old / "manifest.json").write_text("{}")
    frames = [f if k < 150 else np.full_like(f, 90) for k, f in enumerate(person.frames)]
    refusal = refused(encode(tmp_path / "leaves.mp4", frames, person.wav), old)
    assert (old / "manifest.json").read_text() == "{}"
    assert refusal.reason == "FOOTAGE_REFUSED"
    assert "No face in 175 of 325 frames: 150-324." in refusal.message


# The output.


def test_an_output_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = synctalk_preprocess(SAMPLE, tmp_path / "file" / "person.dataset")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["error"]["reason"] == "OUTPUT_NOT_WRITABLE"
    assert "Traceback" not in done.stderr


def test_an_output_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"dear")
    done = synctalk_preprocess(SAMPLE, tmp_path / "photos")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["error"]["reason"] == "OUTPUT_EXISTS"
    assert (tmp_path / "photos" / "me.jpg").read_bytes() == b"dear"


# Odd, but usable.


def normalised(source: Path) -> tuple[VideoReader, np.ndarray]:
    """Frames and sound as they are when normalising has ended."""

    def stop(event: ProgressEvent) -> None:
        if event.stage == "cuts":
            raise Cancelled("far enough")

    out = source.parent / "person.dataset"
    with pytest.raises(Cancelled):
        preprocess(source, out, size=128, progress=stop)
    work = source.parent / "person.dataset.preprocessing"
    return VideoReader(work / "frames.mp4"), read_audio(work / FILMED_SOUND, RATE)


def same_seconds(reader: VideoReader, wav: np.ndarray, person: Person, moving: float) -> None:
    """Every frame shows what was seen at its time, give or take half a source frame."""
    assert abs(len(reader) - 25 * SECONDS) <= 2
    assert len(wav) == len(reader) * RATE // 25
    n = min(len(wav), len(person.wav))
    assert np.corrcoef(wav[:n], person.wav[:n])[0, 1] > 0.99
    for index in (0, 60, 201, 300):
        near = person.frames[max(0, index - 2) : index + 3]
        errors = [np.abs(reader.read(index).astype(int) - f).mean() for f in near]
        assert min(errors) < moving


@pytest.mark.parametrize("fps", [10, 60])
def test_other_frame_rates_become_25(tmp_path: Path, person: Person, fps: int) -> None:
    clip = encode(tmp_path / "clip.mp4", person.at(fps), person.wav, fps=fps)
    same_seconds(*normalised(clip), person, 4.0)


def test_a_wrong_extension_does_not_matter(tmp_path: Path, person: Person) -> None:
    clip = encode(tmp_path / "clip.jpg", person.frames, person.wav)
    same_seconds(*normalised(clip), person, 4.0)


def test_a_container_that_understates_its_length(tmp_path: Path, person: Person) -> None:
    clip = encode(tmp_path / "liar.mkv", person.frames, person.wav, container="matroska")
    same_seconds(*normalised(claim_duration(clip, 4.0)), person, 4.0)
