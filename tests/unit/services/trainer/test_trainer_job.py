"""What a training job promises besides the work."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.trainer.job import Preset
from services.trainer.preview import draw_preview
from synctalk.bundle import CurvePoint
from synctalk.training import PRESETS, HeldOutCheck


def test_the_presets_at_the_door_are_those_of_the_method() -> None:
    assert {preset.value for preset in Preset} == set(PRESETS)


@pytest.mark.parametrize("width", [96, 320])
def test_a_preview_shows_the_rendered_frame_its_source_and_the_curve(width: int) -> None:
    red, green = (
        np.full((120, width, 3), colour, np.uint8) for colour in ((220, 30, 30), (30, 200, 60))
    )
    curve = tuple(CurvePoint(s / 10, s, psnr) for s, psnr in ((250, 31.2), (500, 35.0)))
    data = draw_preview(HeldOutCheck(500, red, green, curve), 900)
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB)
    height, whole = picture.shape[:2]
    assert whole >= 480
    rows = (height - 160) // 2
    np.testing.assert_allclose(picture[rows, whole // 4], (220, 30, 30), atol=6)
    np.testing.assert_allclose(picture[rows, 3 * whole // 4], (30, 200, 60), atol=6)
    plot = picture[-160:].astype(int)
    blue = (plot[..., 2] - plot[..., 0] > 100).nonzero()
    assert np.ptp(blue[1]) == pytest.approx(250 / 900 * (whole - 56), abs=12)  # steps 250 to 500
