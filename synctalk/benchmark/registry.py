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


def train_predecessor(
    dataset: SubjectDataset, out: Path, method: Method, seed: int, progress: ProgressCallback
) -> None:
    """Train SyncTalk (P) on ``dataset`` and save it at ``out``.

    Raises:
        SyncTalkError: whatever training it raises.
    """
    train_synctalk_p(dataset, predecessor_config(method, seed), progress=progress).save(out)


def predecessor(path: Path) -> SyncTalkP:
    """SyncTalk (P) as :func:`train_predecessor` saved it.

    Raises:
        BundleError: it is not whole.
    """
    return SyncTalkP.load(path)
