"""``synctalk study``: make a questionnaire about videos, and score its answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synctalk.cli.session import EXIT_CODES, Outcome, run
from synctalk.progress import ProgressCallback
from synctalk.study.plan import ASPECTS, KEY_FILE, PAGE_FOLDER, StudyKind

if TYPE_CHECKING:
    from synctalk.study import StudyScores

study_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout; progress stays on stderr."),
]
_NOTHING_KEPT = "Nothing was written; run the same command again."


@study_app.callback(epilog=EXIT_CODES)
def _root() -> None:
    """Ask people what they think of finished videos: a blind page, and its statistics.

    Each command has --json.
    """


@study_app.command(epilog=EXIT_CODES)
def make(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="METHOD...",
            help="One folder of each method, named like it, with clips of the same names.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    kind: Annotated[
        StudyKind, typer.Option(help="mos: marks from 1 to 5. pairs: the better of two.")
    ] = "mos",
    title: Annotated[str, typer.Option(help="At the head of the page.")] = "Talking heads",
    as_json: AsJson = False,
) -> None:
    """Write a page with the paper's five questions that works from a disk or any web server.

    Example: [bold]synctalk study make ours/ theirs/ --out study[/]; send study/page to the
    participants and keep study/key.json.
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.study import make_study

        made = make_study(folders, out, kind=kind, title=title)
        words = (
            f"{out / PAGE_FOLDER}: {len(made.clips)} clips of {len(made.methods)} methods, "
            f"{len(made.trials) * len(ASPECTS)} questions. Keep {out / KEY_FILE} to yourself."
        )
        result = {"page": str(out / PAGE_FOLDER / "index.html"), "key": str(out / KEY_FILE)}
        return Outcome({**result, "clips": len(made.clips), "trials": len(made.trials)}, words)

    run("study make", work, as_json=as_json, if_stopped=_NOTHING_KEPT)


@study_app.command(epilog=EXIT_CODES)
def score(
    answers: Annotated[
        list[Path], typer.Argument(metavar="ANSWERS...", help="The participants' files.")
    ],
    key: Annotated[Path, typer.Option(help="The key.json of the study.")],
    as_json: AsJson = False,
) -> None:
    """Means with 95 % confidence intervals, and Cronbach's alpha.

    Example: [bold]synctalk study score answers/*.json --key study/key.json[/]
    """

    def work(progress: ProgressCallback) -> Outcome:
        from synctalk.study import score_study

        found = score_study(key, answers)
        return Outcome(asdict(found), _words(found))

    run("study score", work, as_json=as_json, if_stopped=_NOTHING_KEPT)


def _words(found: StudyScores) -> str:
    width = max(len(aspect) for aspect in ASPECTS)
    what = "mean marks, 1 to 5" if found.kind == "mos" else "share of comparisons won"
    lines = [f"{found.n_participants} participants; {what}, with 95 % confidence intervals"]
    for method, aspects in found.estimates.items():
        lines += ["", method]
        lines += [
            f"  {aspect:{width}}  {e.mean:.3f}  [{e.low:.3f}, {e.high:.3f}]"
            for aspect, e in aspects.items()
        ]
    if found.alpha is None:
        return "\n".join([*lines, "", "Too few answers for Cronbach's alpha."])
    alpha = f"{found.alpha.standardised:.3f} standardised, {found.alpha.raw:.3f} raw"
    return "\n".join([*lines, "", f"Cronbach's alpha {alpha}"])
