"""The scorer with every network at hand: drawn weights, for only the way to them is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synctalk.evaluation.quality import QualityModels, VideoScorer, meters
from synctalk.evaluation.quality.backbones import alexnet
from synctalk.evaluation.quality.fid import Cloud, frechet_distance, inception_features
from synctalk.evaluation.quality.hyperiqa import HyperIqa
from synctalk.evaluation.quality.inception import InceptionV3
from synctalk.evaluation.quality.lpips import Lpips
from synctalk.evaluation.quality.syncnet import SyncNet, cut_face, face_squares, judge

from .seeded import noisy, picture, seeded_tensors
from .test_faces import filmed

torch.set_num_threads(1)

N, CUT = 24, 3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[QualityModels]:
    folder = tmp_path_factory.mktemp("models")
    for network, name in (
        (alexnet(), "alexnet-owt-7be5be79"),
        (InceptionV3(), "pt_inception-2015-12-05-6726825d"),
        (HyperIqa(), "koniq_pretrained"),
        (SyncNet(), "syncnet_v2"),
    ):
        save_file(seeded_tensors(network.state_dict()), folder / f"{name}.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNCTALK_MODELS", str(shared_data / "weights" / "quality"))
        yield QualityModels(folder)


def test_each_network_gets_the_frames_it_is_for(
    models: QualityModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "LEAST_FRAMES", 20)
    rng = np.random.RandomState(0)
    frames = [picture(512, 512, i % 3) for i in range(N)]
    others = [noisy(frame, 10, i) for i, frame in enumerate(frames)]
    sound = (0.1 * rng.standard_normal(640 * N)).astype(np.float32)
    source = filmed(rng.normal(0, 3, (N, 3)))
    wanted = ["lpips_alex", "hyperiqa", "lse_c", "lse_d"]
    with VideoScorer(
        metrics=wanted, models=models, source=source, audio=sound, cuts=(CUT,)
    ) as scorer:
        scorer.add_all(frames, others)
        found = scorer.result()

    lpips, hyperiqa, syncnet = (
        Lpips.load("alex", models),
        HyperIqa.load(models),
        SyncNet.load(models),
    )
    assert isinstance(lpips, Lpips)
    assert isinstance(hyperiqa, HyperIqa)
    assert isinstance(syncnet, SyncNet)
    assert found.series["lpips_alex"][7] == lpips.distance(others[7], frames[7])
    assert np.flatnonzero(np.isfinite(found.series["hyperiqa"])).tolist() == [0]
    assert found["hyperiqa"] == hyperiqa.score(others[0])

    # the first shot is too short to be judged, and no window reaches across the cut
    squares = face_squares(source, (CUT,))
    crops = [torch.from_numpy(cut_face(f, s)) for f, s in zip(others, squares, strict=True)][CUT:]
    windows = [
        torch.stack(crops[i : i + 5]).permute(3, 0, 1, 2)[None].float()
        for i in range(len(crops) - 4)
    ]
    lips = torch.cat([syncnet.embed_lips(window) for window in windows])
    expected = judge(syncnet, lips, sound[640 * CUT :])
    assert found["lse_c"] == pytest.approx(expected.confidence, rel=1e-4)
    assert found["lse_d"] == pytest.approx(expected.distance, rel=1e-4)


def test_fid_is_that_of_the_two_videos_features(models: QualityModels) -> None:
    frames = [picture(160, 160, i) for i in range(3)]
    others = [noisy(frame, 20, i) for i, frame in enumerate(frames)]
    scorer = VideoScorer(metrics=["fid"], models=models)
    scorer.add_all(frames, others)
    network = InceptionV3()
    network.load_state_dict(seeded_tensors(network.state_dict()))
    network.eval()
    clouds = Cloud(), Cloud()
    for cloud, images in zip(clouds, (frames, others), strict=True):
        for image in images:
            cloud.add(inception_features(network, image))
    assert scorer.result()["fid"] == pytest.approx(frechet_distance(*clouds))
