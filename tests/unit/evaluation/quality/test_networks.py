"""The networks of LPIPS, FID, HyperIQA and SyncNet against other people's implementations.

Trained weights are not at hand here, so that both sides were given the same drawn ones
(``seeded.py``); the expected numbers were computed once by lpips 0.1.4 and pytorch-fid 0.3.0 on
torchvision 0.28, and by python_speech_features 0.6.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from torch.nn import functional as F

from synctalk.errors import InputError, MissingModelError
from synctalk.evaluation.quality import Absent, QualityModels
from synctalk.evaluation.quality.backbones import alexnet, squeezenet, vgg16
from synctalk.evaluation.quality.fid import Cloud, frechet_distance, inception_features
from synctalk.evaluation.quality.hyperiqa import HyperIqa
from synctalk.evaluation.quality.inception import InceptionV3
from synctalk.evaluation.quality.lpips import Lpips, Net
from synctalk.evaluation.quality.syncnet import (
    REACH,
    SyncNet,
    cut_face,
    judge,
    mfcc,
)

from .seeded import noisy, picture, seeded_tensors

torch.set_num_threads(1)

BACKBONES = {
    "alex": (alexnet, "alexnet-owt-7be5be79"),
    "vgg": (vgg16, "vgg16-397923af"),
    "squeeze": (squeezenet, "squeezenet1_1-b8a52dc0"),
}


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_data: Path) -> Path:
    """Only the folder given and LPIPS' heads are searched."""
    monkeypatch.setenv("SYNCTALK_MODELS", str(shared_data / "weights" / "quality"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.mark.parametrize(
    ("net", "expected"), [("alex", 0.01628071), ("vgg", 0.02788515), ("squeeze", 0.03664961)]
)
def test_lpips_agrees_with_its_authors_package(
    net: Net, expected: float, nothing_else: Path
) -> None:
    build, name = BACKBONES[net]
    save_file(seeded_tensors(build().state_dict()), nothing_else / f"{name}.safetensors")
    metric = Lpips.load(net, QualityModels(nothing_else))
    assert isinstance(metric, Lpips)
    image = picture(192, 176, 3)
    other = noisy(image, 12)
    assert metric.distance(other, image) == pytest.approx(expected, rel=1e-5)
    assert metric.distance(image, image) == 0
    with pytest.raises(InputError, match="one shape"):
        metric.distance(image[:-1], image)


def test_a_network_that_is_not_here_is_named_with_its_origin(nothing_else: Path) -> None:
    found = Lpips.load("vgg", QualityModels(nothing_else))
    assert isinstance(found, Absent)
    assert found.reason == "WEIGHTS_ABSENT"
    assert "vgg16-397923af.pth" in found.remedy
    assert "download.pytorch.org" in found.remedy


def test_torchs_cache_is_searched(nothing_else: Path) -> None:
    cache = nothing_else / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(seeded_tensors(alexnet().state_dict()), cache / "alexnet-owt-4df8aa71.pth")
    assert isinstance(Lpips.load("alex", QualityModels()), Lpips)


@pytest.mark.parametrize("content", [b"", b"not a network", b"PK\x03\x04broken"])
def test_a_damaged_file_is_an_error_and_not_an_absence(content: bytes, nothing_else: Path) -> None:
    (nothing_else / "alexnet-owt-7be5be79.pth").write_bytes(content)
    with pytest.raises(MissingModelError, match=r"alexnet-owt-7be5be79\.pth cannot be used"):
        Lpips.load("alex", QualityModels(nothing_else))


def test_another_networks_weights_are_refused(nothing_else: Path) -> None:
    save_file(
        seeded_tensors(squeezenet().state_dict()), nothing_else / "vgg16-397923af.safetensors"
    )
    with pytest.raises(MissingModelError) as caught:
        Lpips.load("vgg", QualityModels(nothing_else))
    assert caught.value.reason == "QUALITY_MODEL_UNUSABLE"


def test_inception_features_agree_with_pytorch_fid() -> None:
    network = InceptionV3()
    network.load_state_dict(seeded_tensors(network.state_dict()))
    network.eval()
    features = inception_features(network, picture(200, 240, 0))
    assert features.shape == (2048,)
    assert features[:4] == pytest.approx([0, 0.57042837, 0.00110336, 0], abs=1e-5)
    features = inception_features(network, noisy(picture(200, 240, 1), 20))
    assert features[:4] == pytest.approx([0, 0.56333667, 0.00204115, 0], abs=1e-5)


def cloud(vectors: np.ndarray) -> Cloud:
    made = Cloud(vectors.shape[1])
    for vector in vectors:
        made.add(vector)
    return made


@pytest.mark.parametrize("n", [300, 12])
def test_the_frechet_distance_is_that_of_the_matrix_root(n: int) -> None:
    rng = np.random.RandomState(0)
    a = rng.standard_normal((n, 20)) @ rng.standard_normal((20, 20))
    b = rng.standard_normal((200, 20)) @ rng.standard_normal((20, 20)) + 0.3
    C_a, C_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(C_a @ C_b + (1e-9 if n < 20 else 0) * np.eye(20)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(C_a + C_b - 2 * root)
    assert frechet_distance(cloud(a), cloud(b)) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(cloud(a), cloud(a)) == pytest.approx(0, abs=1e-6)


def test_normal_distributions_on_a_line_have_the_distance_of_the_textbook() -> None:
    a, b = (np.array([[m - s], [m + s]]) for m, s in ((1.0, 3.0), (5.0, 1.0)))
    expected = (1 - 5) ** 2 + 2 * (3 - 1) ** 2  # variances of two points at m ± s are 2 s²
    assert frechet_distance(cloud(a), cloud(b)) == pytest.approx(expected)


def test_one_frame_has_no_fid() -> None:
    with pytest.raises(InputError) as caught:
        frechet_distance(cloud(np.zeros((1, 3))), cloud(np.zeros((5, 3))))
    assert caught.value.reason == "TOO_FEW_FRAMES"


def test_hyperiqa_agrees_with_its_authors_formulas_on_torchvisions_resnet() -> None:
    """Pillow, which resized for the expected number, rounds a little otherwise."""
    network = HyperIqa()
    network.load_state_dict(seeded_tensors(network.state_dict()))
    network.eval()
    assert network.score(picture(300, 260, 4)) == pytest.approx(-149.116, rel=1e-3)


def test_cepstra_agree_with_python_speech_features() -> None:
    rng = np.random.RandomState(0)
    tone = 0.3 * np.sin(np.arange(7000) / 9) * np.hanning(7000)
    speech = np.concatenate([np.zeros(500), tone + 0.01 * rng.standard_normal(7000)])
    found = mfcc(speech.astype(np.float32))
    assert found.shape == (46, 13)
    assert found[0, :3] == pytest.approx([-36.04365339, 0, 0], abs=1e-6)
    assert found[20, :4] == pytest.approx(
        [18.76772215, -5.03768038, 24.45379293, 18.62333354], abs=1e-5
    )
    assert found[-1, :4] == pytest.approx(
        [17.11190644, -35.29149509, -6.41493042, -4.77821876], abs=1e-5
    )


@pytest.fixture(scope="module")
def syncnet() -> SyncNet:
    network = SyncNet()
    network.load_state_dict(seeded_tensors(network.state_dict()))
    return network.requires_grad_(False).eval()


@pytest.mark.parametrize("late", [0, 4, -6])
def test_lips_that_embed_as_their_sound_does_are_found_at_their_lag(
    syncnet: SyncNet, late: int
) -> None:
    rng = np.random.RandomState(3)
    n = 60
    audio = (0.2 * rng.standard_normal(640 * n)).astype(np.float32)
    cepstra = torch.from_numpy(mfcc(audio).T.copy()).float()
    windows = [cepstra[:, 4 * i : 4 * i + 20] for i in range(n - 5)]
    sound = torch.stack([syncnet.embed_sound(w[None, None])[0] for w in windows])
    lips = sound.roll(late, 0)
    found = judge(syncnet, torch.cat([lips, lips[-1:]]), audio)
    # by hand, a pair at a time
    table = np.full((n - 5, 2 * REACH + 1), np.nan)
    for i in range(n - 5):
        for lag in range(-REACH, REACH + 1):
            other = sound[i + lag] if 0 <= i + lag < n - 5 else torch.zeros(1024)
            table[i, lag + REACH] = F.pairwise_distance(lips[i][None], other[None])
    by_lag = table.mean(0)
    assert found.lag_frames == late
    # equal vectors, but the network rounds batches and single windows differently
    assert found.distance == pytest.approx(by_lag.min(), abs=3e-3)
    assert found.confidence == pytest.approx(np.median(by_lag) - by_lag.min(), rel=1e-3)


def test_syncnet_sees_five_crops_at_once(syncnet: SyncNet) -> None:
    crop = cut_face(picture(200, 300), np.array([150.0, 100.0, 60.0]))
    assert crop.shape == (224, 224, 3)
    clip = torch.from_numpy(crop).permute(2, 0, 1).float()[None, :, None].repeat(1, 1, 5, 1, 1)
    assert syncnet.embed_lips(clip).shape == (1, 1024)


def test_a_crop_beyond_the_image_is_grey_there() -> None:
    crop = cut_face(np.zeros((100, 100, 3), np.uint8), np.array([10.0, 50.0, 40.0]))
    assert (crop[:, :20] == 110).all()
    assert (crop[60:150, 150:200] == 0).all()
