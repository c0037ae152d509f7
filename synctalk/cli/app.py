"""The commands: each translates its arguments into one call of the public API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from synctalk import __version__
from synctalk.cli import report
from synctalk.cli.options import AsJson, DeviceOption, Preset, PresetHelp, StepsOption
from synctalk.cli.research import bench, pretrain_encoder
from synctalk.cli.session import EXIT_CODES, Outcome, run
from synctalk.cli.study import study_app
from synctalk.progress import ProgressCallback

Tracker = Literal["auto", "mesh", "face-alignment"]

app = typer.Typer(
    name="synctalk",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(study_app, name="study")


def main() -> None:
    """Entry point of the ``synctalk`` script."""
    app(prog_name="synctalk")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"synctalk {__version__}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A portrait video in, a talking avatar out.

    The whole path, with a GPU or on two CPU cores:

    [bold]synctalk preprocess[/] me.mp4 --out me.dataset

    [bold]synctalk train[/] me.dataset --out me.avatar

    [bold]synctalk dub[/] me.avatar speech.wav --out dubbed.mp4

    [bold]synctalk evaluate[/] me.avatar me.dataset --out report

    New here? [bold]synctalk doctor[/] says what this machine can do, [bold]synctalk demo[/] walks
    the whole path on a sample.
    """


@app.command(epilog=EXIT_CODES)
def preprocess(
    video: Annotated[
        Path,
        typer.Argument(metavar="VIDEO", help="One person speaking, 2-5 minutes, 512 px or more."),
    ],
    out: Annotated[Path, typer.Option(help="The dataset folder to write.")],
    tracker: Annotated[
        Tracker, typer.Option(help="Face tracker; auto takes the best one on this machine.")
    ] = "auto",
    size: Annotated[int, typer.Option(help="Side of the face crop, px; a multiple of 16.")] = 512,
    face_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The 3D face that head tracking begins from: a Basel Face Model (.mat, .npz) or "
            "ICT-FaceKit (.npz). Beside NAME.npz must lie NAME.landmarks.json with the vertex of "
            "each of the 68 landmarks. Without it, the built-in face; it rarely matters.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a portrait video into a dataset: checked, tracked, masked, ready to train on.

    The footage is judged within seconds, before any long work; the verdicts are kept as
    quality.json and quality.png in the dataset.

    Example: [bold]synctalk preprocess me.mp4 --out me.dataset[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk import preprocess as call

        made = call(
            video, out, tracker=tracker, size=size, face_model=face_model, progress=progress
        )
        return report.dataset(made)

    run(
        "preprocess",
        work,
        as_json=as_json,
        if_stopped="Run the same command to go on: the finished stages are kept.",
    )


@app.command(epilog=EXIT_CODES)
def train(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A folder written by `synctalk preprocess`.")
    ],
    out: Annotated[Path, typer.Option(help="The avatar folder to write.")],
    preset: Annotated[Preset, typer.Option(help=PresetHelp)] = "standard",
    steps: StepsOption = None,
    device: DeviceOption = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of the same --out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train an avatar from a dataset. It can be stopped and resumed at any time.

    The last 1/11 of the frames is never trained on; the PSNR on it is shown as training goes.

    Examples: [bold]synctalk train me.dataset --out me.avatar --preset demo[/]

    After Ctrl-C: [bold]synctalk train me.dataset --out me.avatar --preset demo --resume[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.training import preset as settings
        from synctalk.training import train as call

        config = settings(preset, steps)
        avatar = call(dataset, out, config=config, device=device, resume=resume, progress=progress)
        return report.avatar(avatar)

    length = f"--preset {preset}" + (f" --steps {steps}" if steps else "")
    again = f"synctalk train {dataset} --out {out} {length} --resume"
    run("train", work, as_json=as_json, if_stopped=f"Go on with: {again}")


@app.command(epilog=EXIT_CODES)
def dub(
    avatar: Annotated[
        Path, typer.Argument(metavar="AVATAR", help="A folder written by `synctalk train`.")
    ],
    audio: Annotated[
        Path, typer.Argument(metavar="AUDIO", help="Speech of any person, in any audio format.")
    ],
    out: Annotated[
        Path, typer.Option(help="The MP4 to write; WebM or MOV where nothing stands behind.")
    ],
    portrait: Annotated[
        bool,
        typer.Option(
            "--portrait/--no-portrait",
            help="Blend the face into the full source picture, or write the face crop alone.",
        ),
    ] = True,
    torso: Annotated[
        bool,
        typer.Option(
            "--torso/--no-torso",
            help="Restore the neck that a lower jaw covers in the source, if the avatar can.",
        ),
    ] = True,
    background: Annotated[
        str,
        typer.Option(
            metavar="source|#RRGGBB|IMAGE|transparent",
            help="What stands behind the person: what was filmed, a colour, a picture, or nothing.",
        ),
    ] = "source",
    expression: Annotated[
        str,
        typer.Option(
            metavar="auto|source|natural|neutral|calm|emphatic|FILE",
            help="What brows and lids do: by the voice (auto, natural, calm, emphatic; neutral "
            "only blinks), as in the footage (source), or as a CSV or npz of blendshapes says.",
        ),
    ] = "auto",
    blink_rate: Annotated[
        float, typer.Option(min=0, max=60, help="Blinks a minute, where the voice moves the lids.")
    ] = 17.0,
    seed: Annotated[int, typer.Option(min=0, help="Another one gives other blinks and brows.")] = 0,
    label: Annotated[
        bool, typer.Option("--label", help="Say in a corner of the picture that it is by AI.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Make an avatar speak: any speech in, a video of the person saying it out.

    Example: [bold]synctalk dub me.avatar speech.wav --out dubbed.mp4[/]

    For editing: [bold]synctalk dub me.avatar speech.wav --background transparent --out me.mov[/]

    Every frame carries an invisible mark, and the file a signature that says that it is made by AI.
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk import dub as call
        from synctalk.provenance import provenance_from_environment

        provenance = provenance_from_environment()
        done = call(
            avatar,
            audio,
            out,
            portrait=portrait,
            torso=torso,
            background=background,
            expression=expression,
            blinks_per_minute=blink_rate,
            seed=seed,
            device=device,
            provenance=replace(provenance, label=label or provenance.label),
            progress=progress,
        )
        return report.dubbed(done)

    run(
        "dub",
        work,
        as_json=as_json,
        if_stopped=f"Nothing half-made is left at {out}. Run the same command to do it again.",
    )


@app.command(epilog=EXIT_CODES)
def evaluate(
    avatar: Annotated[
        Path, typer.Argument(metavar="AVATAR", help="A folder written by `synctalk train`.")
    ],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="The dataset it was trained on.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for index.html and report.json.")],
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure an avatar on the frames it never saw, and write an HTML report.

    Example: [bold]synctalk evaluate me.avatar me.dataset --out report[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk import evaluate as call

        return report.evaluation(call(avatar, dataset, out, device=device, progress=progress))

    run(
        "evaluate",
        work,
        as_json=as_json,
        if_stopped="Run the same command to do it again.",
    )


app.command(epilog=EXIT_CODES)(bench)
app.command("pretrain-encoder", epilog=EXIT_CODES)(pretrain_encoder)


@app.command(epilog=EXIT_CODES)
def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A video or audio file, a dataset or an avatar.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say in words what a file or folder is.

    Example: [bold]synctalk inspect me.avatar[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.inspect import describe

        return report.description(describe(path))

    run("inspect", work, as_json=as_json, if_stopped="Run the same command again.")


@app.command(epilog=EXIT_CODES)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video or a picture.")],
    as_json: AsJson = False,
) -> None:
    """Tell whether a file was made here: by its signature, and by the mark in its frames.

    Example: [bold]synctalk verify dubbed.mp4[/]

    The mark is looked for with the key of AVATAR_PROVENANCE__KEY.
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk import verify as call

        return report.verified(call(file))

    run("verify", work, as_json=as_json, if_stopped="Run the same command again.")


@app.command(epilog=EXIT_CODES)
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do, what is missing and how to get it.

    Exits with 4 when something is missing that the main job needs.
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.doctor import diagnose

        return report.findings(diagnose())

    run("doctor", work, as_json=as_json, if_stopped="Run the same command again.")


@app.command(epilog=EXIT_CODES)
def demo(
    video: Annotated[
        Path | None, typer.Option(help="A portrait video; without it, the sample's.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Speech; without it, the sample's.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for everything made.")] = Path("out/demo"),
    preset: Annotated[Preset, typer.Option(help=PresetHelp)] = "demo",
    steps: StepsOption = None,
    device: DeviceOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Walk the whole path: preprocess, train, dub and evaluate, on the samples or your own files.

    Example: [bold]synctalk demo --video me.mp4 --audio speech.wav --out out/me[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.cli.demo import run_demo
        from synctalk.training import preset as settings

        config = settings(preset, steps)
        return run_demo(video, audio, out, config=config, device=device, progress=progress)

    run("demo", work, as_json=as_json, if_stopped="Run the same command to begin again.")
