"""Datasets and avatars that a benchmark needs, each made once.

The cache is content-addressed: a dataset lies under the digest of its footage and of how it is
preprocessed, an avatar under that of its dataset and of its settings. Both are published whole or
not at all, and an interrupted run goes on from its last stage or checkpoint.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synctalk import __version__, preprocess
from synctalk.avatar import Avatar
from synctalk.benchmark.cells import digest, file_digest
from synctalk.benchmark.effort import Effort, kept_effort, read_effort
from synctalk.benchmark.footage import clips_of, join_clips
from synctalk.benchmark.plan import Method, Subject
from synctalk.benchmark.registry import predecessor, predecessor_config, train_predecessor
from synctalk.benchmark.switches import SWITCHES, changed
from synctalk.benchmark.variants import with_less_footage, with_other_poses
from synctalk.dataset import SubjectDataset
from synctalk.errors import InputError
from synctalk.face_sync import ENCODER_VERSION
from synctalk.progress import ProgressCallback
from synctalk.training import TrainConfig, preset, train

if TYPE_CHECKING:
    from synctalk.evaluation.protocol import TalkingHead


class Workshop:
    """Makes what is missing, finds what is there.

    Args:
        cache: folder for all that is made.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: receives the events of preprocessing and training.
    """

    def __init__(self, cache: Path, device: str, progress: ProgressCallback) -> None:
        self.cache, self._device, self._progress = cache, device, progress
        self._digests: dict[Path, str] = {}

    def digest_of(self, path: Path) -> str:
        """SHA-256 of a file or artifact, read once a run.

        Raises:
            InputError: it is not there.
        """
        if path not in self._digests:
            try:
                self._digests[path] = file_digest(path)
            except OSError as error:
                raise InputError(
                    f"{path}: {error.strerror}.",
                    reason="FILE_MISSING",
                    remedy="Correct the path in the plan; it is relative to the plan's file.",
                ) from error
        return self._digests[path]

    # -- what things rest on ---------------------------------------------------------------

    def subject_key(self, subject: Subject) -> str:
        """Of a subject's own dataset."""
        if subject.dataset is not None:
            return digest("dataset", self.digest_of(subject.dataset))
        if subject.video is not None:
            footage = [self.digest_of(subject.video)]
        else:
            footage = [self.digest_of(clip) for clip in clips_of(subject.clips)]
        return digest("dataset", footage, subject.at_most_s, subject.size, __version__)

    def dataset_key(self, subject: Subject, method: Method) -> str:
        """Of the dataset that a method learns from."""
        poses = [s for s in method.without if SWITCHES[s].place == "poses"]
        key = self.subject_key(subject)
        if not poses and method.footage_s is None:
            return key
        return digest(key, poses, method.footage_s)

    def avatar_key(self, subject: Subject, method: Method, seed: int) -> str:
        """Of the avatar that a method shows."""
        if method.kind == "avatar":
            return digest("avatar", self.digest_of(method.paths[subject.name]))
        dataset = self.dataset_key(subject, method)
        if method.kind == "synctalk":
            settings = dataclasses.asdict(predecessor_config(method, seed))
            return digest("synctalk", dataset, settings, __version__, ENCODER_VERSION)
        settings = dataclasses.asdict(self.config(method, seed))
        return digest("avatar", dataset, settings, __version__, ENCODER_VERSION)

    def config(self, method: Method, seed: int) -> TrainConfig:
        """The settings that a method is trained with."""
        config = changed(preset(method.preset, method.steps), method.without)
        return dataclasses.replace(config, seed=seed)

    # -- making ------------------------------------------------------------------------------

    def dataset(self, subject: Subject, method: Method | None = None) -> SubjectDataset:
        """The subject's dataset, or the variant of it that a method learns from.

        Raises:
            SyncTalkError: whatever preprocessing raises; ``FOOTAGE_SHORTER``.
        """
        data = self._own_dataset(subject)
        if method is None:
            return data
        for switch in method.without:
            if SWITCHES[switch].place == "poses":
                out = self._place("datasets", digest(self.subject_key(subject), [switch], None))
                if not out.exists():
                    with_other_poses(data, switch, out, self._progress)
                data = SubjectDataset.open(out)
        if method.footage_s is not None:
            out = self._place("datasets", self.dataset_key(subject, method))
            if not out.exists():
                with_less_footage(data, method.footage_s, out)
            data = SubjectDataset.open(out)
        return data

    def _own_dataset(self, subject: Subject) -> SubjectDataset:
        if subject.dataset is not None:
            return SubjectDataset.open(subject.dataset)
        out = self._place("datasets", self.subject_key(subject))
        if not out.exists():
            video = subject.video or self._joined(subject)
            preprocess(video, out, size=subject.size, device=self._device, progress=self._progress)
        return SubjectDataset.open(out)

    def _joined(self, subject: Subject) -> Path:
        """The clips as one video, named after the subject."""
        out = self._place("footage", self.subject_key(subject)) / f"{subject.name}.mp4"
        if not out.exists():
            join_clips(clips_of(subject.clips), out, subject.at_most_s, self._progress)
        return out

    def has_avatar(self, subject: Subject, method: Method, seed: int) -> bool:
        """Whether it is trained already."""
        return method.kind == "avatar" or self._avatar_place(subject, method, seed).exists()

    def avatar(self, subject: Subject, method: Method, seed: int) -> TalkingHead:
        """The avatar of a method.

        Raises:
            SyncTalkError: whatever training raises.
        """
        if method.kind == "synctalk":
            out, data = self._avatar_place(subject, method, seed), self.dataset(subject, method)
            if not out.exists():
                _effort_of(out).unlink(missing_ok=True)  # it keeps no checkpoint to go on from
                with kept_effort(_effort_of(out)):
                    train_predecessor(data, out, method, seed, self._progress)
            return predecessor(out)
        return Avatar.load(self.bundle(subject, method, seed), self._device)

    def bundle(self, subject: Subject, method: Method, seed: int) -> Path:
        """The folder of an avatar of ours, trained if need be.

        Raises:
            SyncTalkError: whatever training raises.
        """
        if method.kind == "avatar":
            return method.paths[subject.name]
        out = self._avatar_place(subject, method, seed)
        if not out.exists():
            data, config = self.dataset(subject, method), self.config(method, seed)
            with kept_effort(_effort_of(out)):
                train(
                    data.path, out, config=config, device=self._device, resume=True,
                    progress=self._progress,
                )  # fmt: skip
        return out

    def effort(self, subject: Subject, method: Method, seed: int) -> Effort | None:
        """What training took, all of it; None where it was not trained here."""
        return read_effort(_effort_of(self._avatar_place(subject, method, seed)))

    def _avatar_place(self, subject: Subject, method: Method, seed: int) -> Path:
        return self._place("avatars", self.avatar_key(subject, method, seed))

    def _place(self, kind: str, key: str) -> Path:
        folder = self.cache / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / key


def _effort_of(avatar: Path) -> Path:
    return avatar.with_name(f"{avatar.name}.effort.json")


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep other benchmarks out of ``folder`` meanwhile.

    Raises:
        InputError: one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise InputError(
                f"{folder}: another benchmark (process {lock.read().strip() or 'unknown'}) "
                "works there.",
                reason="BENCH_RUNNING",
                remedy="Wait until it has ended, or name another --cache.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_json(path: Path, value: object) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    draft.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, path)
