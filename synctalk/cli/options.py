"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Preset = Literal["demo", "standard", "best"]
Device = Literal["auto", "cpu", "cuda"]

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout; progress stays on stderr."),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where to compute; auto takes CUDA when there is one.")
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Training steps instead of the preset's: a few hundred give a quick look."),
]
PresetHelp = "demo: about a minute. standard: minutes, the quality to judge. best: longer still."
