"""The commands that compare methods and make the encoder's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synctalk.cli import report
from synctalk.cli.options import AsJson, DeviceOption, Preset, PresetHelp, StepsOption
from synctalk.cli.session import Outcome, run
from synctalk.progress import ProgressCallback


def bench(
    plan: Annotated[
        Path | None,
        typer.Argument(metavar="PLAN", help="What to measure, in TOML (docs/benchmark.md)."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The folder for index.html, bench.json and bench.csv.")
    ] = Path("out/benchmark"),
    video: Annotated[
        list[Path] | None,
        typer.Option(help="Without a plan: footage to measure on; may be repeated."),
    ] = None,
    preset: Annotated[Preset, typer.Option(help=f"Without a plan. {PresetHelp}")] = "standard",
    steps: StepsOption = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Without a plan: of training; may be repeated.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Of the plan, this one alone; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Of the plan, this one alone; may be repeated.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Of the plan, this one alone; may be repeated.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of datasets and avatars; OUT/cache if not named.")
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="bench.json of another machine: its cells are not measured again."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again; datasets and avatars are kept.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Put methods side by side, beside the paper's tables: one page with players, plots, tables.

    What is measured is kept: stopped and run again, it goes on where it was. A part of a plan is
    measured alone; the page always shows all that there is.

    Examples: [bold]synctalk bench plan.toml --out out/benchmark[/]

    [bold]synctalk bench --video me.mp4 --preset demo --out out/benchmark[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.benchmark import bench as call
        from synctalk.benchmark import load_plan, plan_of

        wanted = (
            load_plan(plan)
            if plan is not None
            else plan_of(video or (), preset, steps, tuple(seed or (0,)))
        )
        named = (tuple(names or ()) for names in (subject, method, protocol))
        made = call(
            wanted, out, part=wanted.narrowed(*named), cache=cache, measured=measured or (),
            fresh=fresh, device=device, progress=progress,
        )  # fmt: skip
        return report.benchmark(made)

    run(
        "bench",
        work,
        as_json=as_json,
        if_stopped="Run the same command to go on: what was measured is kept.",
    )


def pretrain_encoder(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Clips of speakers, and folders of one speaker's clips each. Words are known of "
            "the GRID corpus's clips, whose names spell them.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the weights.")],
    as_json: AsJson = False,
) -> None:
    """Make the weights of the speech encoder anew. Nobody needs to: they come with synctalk.

    It needs espeak-ng, flite, Festival with its voices, and PocketSphinx, and a quarter of an
    hour on two cores; synctalk/face_sync/weights/MODEL_CARD.md says more.

    Example: [bold]synctalk pretrain-encoder grid_s1 --out weights[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.face_sync.pretrain import pretrain_encoder as call

        return report.pretrained(call(data, out, progress=progress))

    run(
        "pretrain-encoder",
        work,
        as_json=as_json,
        if_stopped="Run the same command to begin again.",
    )
