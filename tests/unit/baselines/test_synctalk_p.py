"""SyncTalk (P) from the inside out: encoding, integral, a head that is learnt, its files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from synctalk.avatar import Driving
from synctalk.baselines.synctalk_p import FieldConfig, SyncTalkP
from synctalk.baselines.synctalk_p.data import Footage
from synctalk.baselines.synctalk_p.encoding import PLANES, PRIME, TriplaneHash
from synctalk.baselines.synctalk_p.portrait import JAW, blend_face, fill_neck
from synctalk.baselines.synctalk_p.renderer import SourceTracks
from synctalk.baselines.synctalk_p.training import FieldTraining, Scene
from synctalk.baselines.synctalk_p.volume import camera_rays, composite
from synctalk.bundle import BundleManifest
from synctalk.dataset import Crop
from synctalk.errors import BundleError
from synctalk.face.topology import FACE_OVAL
from synctalk.face_sync import DrivingSpace, LipRegressor

SIZE, SIDE, FRAMES = 32, 64, 12
CENTRE, RADIUS = torch.tensor([0.0, 0.0, -60.0]), 70.0
CONFIG = FieldConfig(
    size=SIZE, steps=150, rays=768, levels=4, coarsest=4, log2_table=9, finest_per_px=1.0,
    grid=24, step_mm=8.0, patch=12, fine_share=0.2, lr_hash=5e-2, lr=5e-3,
)  # fmt: skip


# -- encoding ------------------------------------------------------------------------------


def naive_features(encoding: TriplaneHash, position: list[float]) -> Tensor:
    """Level by level and corner by corner, as Müller et al. describe it."""
    features = []
    for plane, (a, b) in enumerate(PLANES):
        for level, cells in enumerate(encoding.get_buffer("cells").long().tolist()):
            u, v = position[a] * cells, position[b] * cells
            x0, y0 = min(int(u), cells - 1), min(int(v), cells - 1)
            table = (plane * len(encoding.get_buffer("cells")) + level) * encoding.size
            total = torch.zeros((), dtype=encoding.tables.dtype)
            for x, y in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
                dense = (cells + 1) ** 2 <= encoding.size
                entry = x + y * (cells + 1) if dense else (x ^ (y * PRIME)) % encoding.size
                share = (1 - abs(u - x)) * (1 - abs(v - y))
                total = total + share * encoding.tables[table + entry]
            features.append(total)
    return torch.stack(features)


@pytest.fixture
def encoding() -> TriplaneHash:
    torch.manual_seed(0)
    made = TriplaneHash(levels=5, coarsest=3, finest=40, log2_table=6).double()
    assert 0 < made.n_dense < 5  # both kinds of grids are tried
    torch.nn.init.normal_(made.tables)
    return made


def test_features_and_their_gradient_are_the_naive_ones(encoding: TriplaneHash) -> None:
    positions = torch.rand(10, 3, dtype=torch.float64)
    positions[0], positions[1] = 0.0, 1.0
    upstream = torch.randn(10, encoding.dim, dtype=torch.float64)
    ours = encoding(positions)
    (grad,) = torch.autograd.grad(ours, encoding.tables, upstream)
    naive = torch.stack([naive_features(encoding, p) for p in positions.tolist()])
    (wanted,) = torch.autograd.grad(naive, encoding.tables, upstream)
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(grad, wanted)


def test_features_are_continuous_across_cells(encoding: TriplaneHash) -> None:
    edge = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(encoding(edge - 1e-9), encoding(edge + 1e-9), atol=1e-5, rtol=0)


# -- the integral --------------------------------------------------------------------------


def test_a_homogeneous_medium_absorbs_as_beer_and_lambert_say() -> None:
    density, length, n = 0.03, 50.0, 200
    mask = torch.ones(2, n, dtype=torch.bool)
    mask[1, n // 2 :] = False  # the second ray meets half as much of it
    count = int(mask.sum())
    colour = torch.tensor([0.2, 0.5, 0.9])
    rgb, alpha, weights = composite(
        mask, torch.full((count,), density * length / n), colour.expand(count, 3)
    )
    wanted = torch.tensor([1 - math.exp(-density * length * share) for share in (1.0, 0.5)])
    torch.testing.assert_close(alpha, wanted)
    torch.testing.assert_close(rgb, wanted[:, None] * colour)
    assert float(weights.sum()) == pytest.approx(float(wanted.sum()), rel=1e-5)


def test_what_is_nearer_hides_what_is_behind() -> None:
    mask = torch.tensor([[True, False, True]])
    rgb, alpha, _ = composite(mask, torch.tensor([30.0, 30.0]), torch.eye(3)[:2])
    torch.testing.assert_close(rgb, torch.eye(3)[:1])
    torch.testing.assert_close(alpha, torch.ones(1))


def test_rays_meet_the_points_they_are_projected_from() -> None:
    R = turned(0.3)
    t, K = torch.tensor([5.0, -8.0, 600.0]), camera(SIZE)
    points = torch.randn(20, 3) * 50
    seen = (points @ R.T + t) @ K.T
    origins, directions = camera_rays(seen[:, :2] / seen[:, 2:], R, t, K)
    towards = torch.nn.functional.normalize(points - origins, dim=1)
    torch.testing.assert_close(directions, towards, atol=1e-5, rtol=1e-5)


# -- a head that is learnt -----------------------------------------------------------------


def turned(yaw: float) -> Tensor:
    c, s = math.cos(yaw), math.sin(yaw)
    turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn


def camera(size: int) -> Tensor:
    return torch.tensor([[3.4 * size, 0, size / 2], [0, 3.4 * size, size / 2], [0, 0, 1.0]])


def ball(R: Tensor, t: Tensor, lip: float, brow: float) -> tuple[Tensor, Tensor]:
    """A ball that shows ``lip`` in its lower half and ``brow`` in its upper: RGB and alpha."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    origins, directions = camera_rays(torch.stack([x, y], -1).view(-1, 2) + 0.5, R, t, camera(SIZE))
    away = origins - CENTRE
    half = (away * directions).sum(1)
    inside = half**2 - (away * away).sum(1) + RADIUS**2
    hit = origins - (half + inside.clamp_min(0).sqrt())[:, None] * directions
    stripes = 0.5 + 0.4 * torch.sin(hit[:, 0] / 12)
    upper = hit[:, 1] > 0
    rgb = torch.stack([stripes, torch.where(upper, brow, 0.3), torch.where(upper, 0.6, lip)], 1)
    alpha = (inside > 0).float()
    return (alpha[:, None] * rgb).view(SIZE, SIZE, 3), alpha.view(SIZE, SIZE)


@dataclasses.dataclass(frozen=True)
class Ball:
    footage: Footage
    scene: Scene


@pytest.fixture(scope="module")
def filmed() -> Ball:
    """A turning ball before grey whose halves flicker."""
    generator = torch.Generator().manual_seed(1)
    lip, brow = torch.rand(2, FRAMES, 1, generator=generator)
    R = torch.stack([turned(a) for a in torch.linspace(-0.4, 0.4, FRAMES).tolist()])
    t = torch.tensor([0.0, 0.0, 700.0]).expand(FRAMES, 3).contiguous()
    pictures = [ball(R[i], t[i], float(lip[i]), float(brow[i])) for i in range(FRAMES)]
    alpha = torch.stack([a for _, a in pictures])
    rgb = torch.stack([p + 0.5 * (1 - a[..., None]) for p, a in pictures])
    whole = torch.tensor([0.0, 0, SIZE, SIZE]).expand(FRAMES, 4)
    footage = Footage(
        index=torch.arange(FRAMES),
        rgb=(255 * rgb).round().byte(),
        plate=torch.full_like(rgb, 127.5).byte(),
        matte=(255 * alpha).byte(),
        head=whole,
        mouth=whole,
        neck=torch.tensor([0.8, 0.6, 0.5]),
    )
    mesh = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=1)
    mesh = CENTRE + RADIUS * mesh
    mesh[4] = torch.tensor([0.0, 0.0, 10.0])  # the nose's tip parts the halves
    scene = Scene(R, t, camera(SIZE), 4 * lip - 2, 4 * brow - 2, mesh)
    return Ball(footage, scene)


@pytest.fixture(scope="module")
def trained(filmed: Ball) -> FieldTraining:
    run = FieldTraining(filmed.footage, filmed.scene, CONFIG)
    run.train()
    return run


@pytest.fixture(scope="module")
def head(filmed: Ball, trained: FieldTraining) -> SyncTalkP:
    settings = {**dataclasses.asdict(CONFIG), **dataclasses.asdict(CONFIG.shape())}
    manifest = BundleManifest(
        subject="ball", source_sha256="ab" * 32, crop=Crop(0, 0, SIDE), size=SIDE,
        source_width=SIDE, source_height=SIDE, n_frames=FRAMES, cuts=(), window=(SIDE, SIDE),
        settings=settings, metrics={}, training_curve=(), timings_s={},
    )  # fmt: skip
    jaw = np.tile(np.float32([[5, 40], [32, 60], [59, 40]]), (FRAMES, 1, 1))
    neck = SourceTracks(filmed.scene.t.numpy(), jaw, filmed.footage.neck.numpy())
    K = camera(SIDE).numpy()
    return SyncTalkP(
        manifest, trained.shape, trained.field, trained.grid, a_space(), a_regressor(), K, neck
    )


def a_space() -> DrivingSpace:
    """Spaces of one lip and one brow coefficient and no iris."""
    state = {"vertices": torch.zeros(478, 3), "rotation": torch.eye(3)}
    for name, rank in (("lips", 1), ("expressions", 1), ("irises", 0), ("poses", 6)):
        state |= {
            f"{name}.mean": torch.zeros(6),
            f"{name}.components": torch.zeros(rank, 6),
            f"{name}.scale": torch.ones(rank),
        }
    return DrivingSpace.from_state(state)


def a_regressor() -> LipRegressor:
    names = [f.name for f in dataclasses.fields(LipRegressor)]
    return LipRegressor.from_state({name: torch.ones(1) for name in names})


def rendered(head: SyncTalkP, filmed: Ball, **changed: Tensor) -> np.ndarray:
    scene = dataclasses.replace(filmed.scene, **changed)
    driving = Driving(*(getattr(scene, n).numpy() for n in ("lip", "expression", "R", "t")))
    return np.stack([head.render_head(driving, i) for i in range(FRAMES)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(a - b))))


def test_a_ball_is_learnt_with_its_motion(head: SyncTalkP, filmed: Ball) -> None:
    rgba = rendered(head, filmed)
    wanted = (
        filmed.footage.rgb.numpy() / 255 - 0.5 * (1 - filmed.footage.matte.numpy() / 255)[..., None]
    )
    assert psnr(rgba[..., :3], wanted) > 22
    frozen = rendered(head, filmed, lip=torch.zeros(FRAMES, 1))
    assert psnr(rgba[..., :3], wanted) > psnr(frozen[..., :3], wanted) + 1


def test_lips_do_not_move_brows(head: SyncTalkP, filmed: Ball) -> None:
    one, other = (
        rendered(head, filmed, lip=torch.full((FRAMES, 1), value)) for value in (-1.5, 1.5)
    )
    change = np.abs(one - other).mean((0, 2, 3))
    upper, lower = change[: SIZE // 2 - 3], change[SIZE // 2 + 3 :]
    assert upper.max() < 0.02 < 0.1 < lower.max()


def test_empty_space_is_no_longer_sampled(trained: FieldTraining) -> None:
    occupied = trained.grid.get_buffer("occupied").float().mean()
    assert 0.02 < float(occupied) < 0.5


def test_the_same_seed_trains_the_same_head(filmed: Ball) -> None:
    config = dataclasses.replace(CONFIG, steps=12)
    runs = [FieldTraining(filmed.footage, filmed.scene, config) for _ in range(2)]
    for run in runs:
        run.train()
    states = [run.field.state_dict() for run in runs]
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


def test_a_saved_head_renders_the_same_pixels(
    head: SyncTalkP, filmed: Ball, tmp_path: Path
) -> None:
    head.save(tmp_path / "head")
    again = SyncTalkP.load(tmp_path / "head")
    driving = Driving(
        *(getattr(filmed.scene, n)[:3].numpy() for n in ("lip", "expression", "R", "t"))
    )
    plates = [np.full((SIDE, SIDE, 3), v, np.uint8) for v in (10, 90, 200)]
    ours, loaded = list(head.render(driving, plates)), list(again.render(driving, plates))
    np.testing.assert_array_equal(ours, loaded)
    assert ours[0].shape == (SIDE, SIDE, 3)
    assert (ours[1][0, 0] == 90).all()  # the plate beside the head


def test_a_damaged_head_is_refused(head: SyncTalkP, tmp_path: Path) -> None:
    head.save(tmp_path / "head")
    weights = tmp_path / "head" / "synctalk_p.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(BundleError) as caught:
        SyncTalkP.load(tmp_path / "head")
    assert caught.value.reason == "BUNDLE_DAMAGED"


# -- portrait ------------------------------------------------------------------------------


def test_the_neck_is_filled_inside_the_jaw_alone() -> None:
    plate = np.full((SIDE, SIDE, 3), 20, np.uint8)
    jaw = np.float32([[10, 20], [32, 55], [54, 20]])
    filled = fill_neck(plate, jaw, np.float32([0.8, 0.6, 0.5]))
    np.testing.assert_allclose(filled[30, 32], [204, 153, 128], atol=1)
    assert (filled[60, 32] == 20).all()
    assert (filled[10, 10] == 20).all()


def test_the_portrait_keeps_the_source_outside_the_face() -> None:
    mesh = np.zeros((478, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    mesh[list(FACE_OVAL), :2] = 32 + 20 * np.stack([np.sin(angle), -np.cos(angle)], 1)
    source, face = np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, SIDE, 3), 200, np.uint8)
    mixed = blend_face(face, source, mesh)
    assert (mixed[32, 32] == 200).all()
    assert mixed[2, 2].max() == 0
    assert mesh[list(JAW), 1].mean() > 32
