"""The parts of the method that can be left out or replaced, by name (Tables IV, VI and VII).

A switch acts at one place: on the dataset (poses found in another way), on training, on the lips'
regressor, or on the dub. What it does not touch is shared with the whole method through the cache,
so that a row of an ablation table costs no more than what it changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from synctalk.training import TrainConfig

Table = Literal["IV", "VI", "VII", "own"]
Place = Literal["poses", "training", "lips", "dub"]
GROWTH = 1.25


@dataclass(frozen=True)
class Switch:
    """One part, left out or replaced.

    Args:
        name: in plans.
        table: of the paper, or ``"own"``.
        row: its name in the table.
        place: where it acts.
        words: what happens, for people.
        settings: fields of TrainConfig that change.
        grows: whether stage 1 may add splats, which the presets but ``best`` do not.
    """

    name: str
    table: Table
    row: str
    place: Place
    words: str
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
    grows: bool = False

    def applied(self, config: TrainConfig) -> TrainConfig:
        """``config`` with the settings changed."""
        if self.grows:
            grows = dataclasses.replace(config.densify, max_growth=GROWTH)
            most = round(GROWTH * config.n_gaussians)
            config = dataclasses.replace(config, n_gaussians=most, densify=grows)
        return dataclasses.replace(config, **self.settings)  # type: ignore[arg-type]


TRIPLANE: Mapping[str, object] = {"deformation": "triplane"}
_ALL = (
    Switch(
        "heads-all", "IV", "all attributes from f_μ", "training",
        "The paper's triplane and MLPs; the canonical heads decide every attribute.",
        {**TRIPLANE, "heads": "all"},
    ),
    Switch(
        "heads-sh-opacity", "IV", "SH and opacity from f_μ", "training",
        "The paper's triplane and MLPs; heads decide colour and opacity, the rest is learnt.",
        {**TRIPLANE, "heads": "sh-opacity"},
    ),
    Switch(
        "heads-geometry", "IV", "position, scale, rotation from f_μ", "training",
        "The paper's triplane and MLPs; heads decide the geometry, colours are learnt.",
        {**TRIPLANE, "heads": "geometry"},
    ),
    Switch(
        "random-init", "IV", "random init", "training",
        "As SH and opacity, from grey splats anywhere in the head's box.",
        {**TRIPLANE, "heads": "sh-opacity", "initialisation": "random"},
    ),
    Switch(
        "audio-visual-encoder", "VI", "w/o Audio-Visual Encoder", "lips",
        "Lips from log-mels and loudness instead of the encoder's features, same regression.",
    ),
    Switch(
        "facial-animation-capturer", "VI", "w/o Facial Animation Capturer", "training",
        "Brows, lids and irises are driven by one coefficient, how far the lids are closed.",
        {"capturer": "blink"},
    ),
    Switch(
        "head-sync-stabilizer", "VI", "w/o Head-Sync Stabilizer", "poses",
        "Poses from each frame's landmarks alone: no points, no bundle adjustment, no pixels.",
    ),
    Switch(
        "portrait-sync-generator", "VI", "w/o Portrait-Sync Generator", "dub",
        "The rendered head on its plate, not blended into the source.",
    ),
    Switch(
        "semantic-weighting", "VI", "w/o Semantic Weighting", "poses",
        "Brows and eyes count as much as the points that sit firmly on the skull.",
    ),
    Switch(
        "torso-restorer", "VII", "w/o Torso Restorer", "dub",
        "The source's own neck stays under the dubbed jaw.",
    ),
    Switch(
        "expression-generator", "own", "w/o expression generator", "dub",
        "Brows and lids as in the footage, whatever the voice does.",
    ),
    Switch(
        "masked-attention", "own", "w/o masked attention", "training",
        "Lip and expression coefficients both move the whole head.",
        {"masked_attention": False},
    ),
    Switch(
        "fixed-splats", "own", "w/o a fixed number of splats", "training",
        "Densification in stage 1: a quarter more splats where the picture still errs.", grows=True,
    ),
    Switch(
        "curriculum", "own", "w/o curriculum", "training",
        "Every frame is shown as often as any other.", {"rare_frame_power": 0.0},
    ),
)  # fmt: skip
SWITCHES: Mapping[str, Switch] = MappingProxyType({switch.name: switch for switch in _ALL})
"""Every switch by its name, in the order of the tables."""


def changed(config: TrainConfig, without: tuple[str, ...]) -> TrainConfig:
    """``config`` as the switches of training leave it."""
    for name in without:
        config = SWITCHES[name].applied(config)
    return config
