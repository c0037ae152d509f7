"""Methods that live elsewhere: how each is trained and opened."""

from __future__ import annotations

from pathlib import Path

from synctalk.baselines.synctalk_p import FieldConfig, SyncTalkP, train_synctalk_p
from synctalk.benchmark.plan import Method
from synctalk.dataset import SubjectDataset
from synctalk.progress import ProgressCallback


def predecessor_config(method: Method, seed: int) -> FieldConfig:
    """The settings that SyncTalk (P) is trained with."""
    usual = FieldConfig()
    return FieldConfig(size=method.size or usual.size, steps=method.steps or usual.steps, seed=seed)


def predecessor(
    dataset: SubjectDataset, out: Path, method: Method, seed: int, progress: ProgressCallback
) -> SyncTalkP:
    """SyncTalk (P) of ``dataset``, trained at ``out`` unless it is there.

    Raises:
        SyncTalkError: whatever training it raises.
    """
    if not out.exists():
        config = predecessor_config(method, seed)
        train_synctalk_p(dataset, config, progress=progress).save(out)
    return SyncTalkP.load(out)
