"""The evaluation as one HTML page: no network, no script, light and dark, wide and narrow."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from synctalk.evaluation.contact import jpeg
from synctalk.evaluation.paper import DEFINITIONS, NOT_MEASURED, PAPER_ROWS, PLAIN, PORTRAIT
from synctalk.evaluation.result import (
    Drive,
    EvaluationResult,
    FrameScores,
    Series,
    correlation,
    mean,
)
from synctalk.evaluation.style import STYLE
from synctalk.evaluation.svg import Level, Line, plot


def page(result: EvaluationResult, contact_sheet: str, worst_frames: str) -> str:
    """The whole document; the two arguments name the picture files beside it."""
    title = f"{result.subject}: held-out evaluation"
    sections = [
        _head(result, title),
        _section("Side by side", _videos(result)),
        _section("Ten frames", _picture(contact_sheet, "Ten frames spread over the held-out part")),
        _section("PSNR per frame, worst frames first", _worst(result, worst_frames)),
        _section("Beside the paper", _paper_table(result)),
        _section("By region, and the mouth", _region_table(result)),
        _section("Head pose and mouth", _motion(result)),
        _section("Training", _training(result)),
        _section("Timings", _timings(result)),
        _section("What is measured", _definitions()),
        _section("What is not measured", _not_measured()),
        _section("Machine", f"<p>{escape(result.machine.summary())}</p>"),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def verdict(result: EvaluationResult) -> str:
    """One sentence: how good it is, and where that stands beside the paper's figures."""
    audio, tracked = (mean(d.plain.psnr) for d in (result.audio, result.tracked))
    n = result.n_frames - result.first
    return (
        f"Speaking its own audio, the avatar reproduces {n} frames it never saw at {audio:.1f} dB, "
        f"{_beside(audio, PLAIN.psnr)} (on other footage), and at "
        f"{mean(result.audio.portrait.psnr):.1f} dB blended into the portrait (paper "
        f"{PORTRAIT.psnr:.1f}); with lips taken from the video it reaches {tracked:.1f} dB."
    )


def _beside(value: float, paper: float) -> str:
    gap = value - paper
    if abs(gap) < 0.05:
        return f"the paper's {paper:.1f}"
    return f"{abs(gap):.1f} dB {'above' if gap > 0 else 'below'} the paper's {paper:.1f}"


def _head(result: EvaluationResult, title: str) -> str:
    n, seconds = result.n_frames - result.first, (result.n_frames - result.first) / result.fps
    audio = result.audio
    tiles = (
        ("PSNR", _mean(audio.plain.psnr, 2, " dB"), "lips from audio"),
        ("PSNR, portrait", _mean(audio.portrait.psnr, 2, " dB"), "face blended into the source"),
        ("MS-SSIM", _mean(audio.plain.ms_ssim, 4), "lips from audio"),
        ("LMD", _mean(audio.lmd, 2, " px"), "lips from audio, at 512 px"),
        ("Training", _duration(sum(result.timings.train_s.values())), _preset(result)),
    )
    boxes = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<span>{escape(note)}</span></div>"
        for name, value, note in tiles
    )
    return (
        f'<h1>{escape(title)}</h1><p class="verdict">{escape(verdict(result))}</p>'
        f'<div class="tiles">{boxes}</div>'
        f'<p class="note">The last {n} of {result.n_frames} frames ({seconds:.1f} s) were kept '
        f"from training; {result.size}×{result.size} px, {result.fps} fps. Their head poses are "
        f"the dataset's ({escape(result.tracker)} tracker); nothing is fitted to the rendering.</p>"
    )


def _videos(result: EvaluationResult) -> str:
    def figure(drive: Drive, caption: str) -> str:
        return (
            f'<figure><video controls playsinline preload="metadata" poster="{_poster(drive)}" '
            f'src="{escape(drive.video)}"></video>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    return (
        '<div class="pair">'
        + figure(result.audio, "Source | rendered, lips from the audio")
        + figure(result.tracked, "Source | rendered, lips from tracked landmarks (oracle)")
        + "</div>"
    )


def _poster(drive: Drive) -> str:
    """The first example as a data URI: browsers show nothing of a video that was not started."""
    first = drive.examples[0]
    data = jpeg(np.concatenate([first.source, first.rendered], 1))
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _picture(name: str, caption: str) -> str:
    return (
        f'<figure><div class="scroll"><img src="{escape(name)}" alt="{escape(caption)}" '
        f'loading="lazy"></div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _worst(result: EvaluationResult, picture: str) -> str:
    seconds = _held_out_seconds(result)
    chart = plot(
        [
            Line("lips from tracked landmarks", seconds, result.tracked.plain.psnr, "c1"),
            Line("lips from audio", seconds, result.audio.plain.psnr, "c2"),
        ],
        "time in the clip, s",
        "PSNR, dB",
    )
    return (
        _picture(picture, "The frames with the lowest PSNR, worst first")
        + f'<div class="single">{chart}</div>'
    )


def _paper_table(result: EvaluationResult) -> str:
    header = ("", "PSNR ↑", "LPIPS ↓", "MS-SSIM ↑", "FID ↓", "LMD ↓", "training", "fps")
    rows = [
        (r.method, f"{r.psnr:.2f}", f"{r.lpips:.4f}", f"{r.ms_ssim:.4f}", f"{r.fid:.2f}",
         "" if r.lmd is None else f"{r.lmd:.3f}", "" if r.train_h is None else f"{r.train_h} h",
         "" if r.fps is None else f"{r.fps:.1f}")
        for r in PAPER_ROWS
    ]  # fmt: skip
    training = _duration(sum(result.timings.train_s.values()))
    ours = []
    for drive, name in ((result.audio, "audio"), (result.tracked, "tracked landmarks (oracle)")):
        kinds = ((drive.plain, "", _mean(drive.lmd, 3)), (drive.portrait, ", portrait", ""))
        for scores, suffix, lmd in kinds:
            ours.append(
                (f"ours, lips from {name}{suffix}", _mean(scores.psnr, 2), "needs weights",
                 _mean(scores.ms_ssim, 4), "needs weights", lmd, training, "")
            )  # fmt: skip
    note = (
        "Paper: RTX 4090, its own footage at 512×512, lips from audio. Ours: "
        f"{result.machine.cpu}, {result.machine.cores} cores, this footage at "
        f"{result.size}×{result.size}. Frame rates are measured by the dubbing benchmark, not here."
    )
    return _table(header, rows, ours) + f'<p class="note">{escape(note)}</p>'


def _region_table(result: EvaluationResult) -> str:
    header = ("", "PSNR", "PSNR head", "PSNR mouth", "SSIM", "SSIM mouth", "MS-SSIM", "LMD",
              "lip gap r")  # fmt: skip

    def row(name: str, s: FrameScores, *mouth: str) -> tuple[str, ...]:
        decibels = (_mean(v, 2) for v in (s.psnr, s.psnr_head, s.psnr_mouth))
        shares = (_mean(v, 4) for v in (s.ssim, s.ssim_mouth, s.ms_ssim))
        return (name, *decibels, *shares, *mouth)

    rows = []
    for drive, name in ((result.audio, "audio"), (result.tracked, "tracked landmarks")):
        r = correlation(drive.lip_gap, result.source_lip_gap)
        mouth = (_mean(drive.lmd, 3), f"{r:.3f}" if np.isfinite(r) else "–")
        rows.append(row(f"lips from {name}", drive.plain, *mouth))
        rows.append(row(f"lips from {name}, portrait", drive.portrait, "", ""))
    return _table(header, rows)


def _motion(result: EvaluationResult) -> str:
    clip = np.arange(result.n_frames) / result.fps
    seconds = _held_out_seconds(result)
    names = ("yaw", "pitch", "roll")
    pose = [
        Line(name, clip, _broken_at(result.pose_deg[:, i], result.cuts), f"c{i + 1}")
        for i, name in enumerate(names)
    ]
    gaps = [
        Line("source", seconds, result.source_lip_gap, "c0"),
        Line("rendered, tracked landmarks", seconds, result.tracked.lip_gap, "c1"),
        Line("rendered, audio", seconds, result.audio.lip_gap, "c2"),
    ]
    asked = [
        Line("tracked landmarks", seconds, result.tracked.mouth_opening_mm, "c1"),
        Line("audio", seconds, result.audio.mouth_opening_mm, "c2"),
    ]
    x = "time in the clip, s"
    held_out = (result.first / result.fps, (result.n_frames - 1) / result.fps)
    plots = (
        (plot(pose, x, "degrees", shaded=held_out), "Tracked head pose; held-out part shaded."),
        (plot(gaps, x, "lip gap, px at 512"), "Inner lips' distance, tracked in the pictures."),
        (plot(asked, x, "mouth opening, mm"), "Mouth opening that the driving asks for."),
    )
    return '<div class="pair">' + "".join(_captioned(*p) for p in plots) + "</div>"


def _training(result: EvaluationResult) -> str:
    if not result.curve:
        return "<p>The avatar's manifest holds no training curve.</p>"
    minutes = np.array([p.seconds / 60 for p in result.curve])
    psnr = np.array([p.psnr_db for p in result.curve])
    line = Line("held-out PSNR, lips from tracked landmarks", minutes, psnr, "c1")
    level = Level(f"paper {PLAIN.psnr:.2f} dB after {PLAIN.train_h} h on a 4090", PLAIN.psnr)
    chart = plot([line], "training time, minutes", "PSNR, dB", level=level)
    note = "As watched during training, on a few held-out frames; the tables above use them all."
    return f'<div class="single">{_captioned(chart, note)}</div>'


def _timings(result: EvaluationResult) -> str:
    t = result.timings
    tables = (
        _stage_table("Preprocessing", "s", t.preprocess_s),
        _stage_table("Training", "s", t.train_s),
        _stage_table("One frame, each stage alone", "ms", t.frame_ms),
    )
    return '<div class="pair">' + "".join(tables) + "</div>"


def _stage_table(title: str, unit: str, stages: Mapping[str, float]) -> str:
    rows = [(name.replace("_", " "), f"{value:.2f}") for name, value in stages.items()]
    total = [("together", f"{sum(stages.values()):.2f}")]
    return f"<div>{_table((title, unit), rows, total)}</div>"


def _definitions() -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in DEFINITIONS.items())
    return f"<dl>{items}</dl>"


def _not_measured() -> str:
    items = "".join(
        f"<li><b>{escape(name.upper().replace('_', '-'))}</b>: {escape(why)}</li>"
        for name, why in NOT_MEASURED.items()
    )
    note = "Metrics of the paper that are absent here; nothing stands in for them."
    return f"<p>{note}</p><ul>{items}</ul>"


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str]], ours: Iterable[Sequence[str]] = ()
) -> str:
    def line(cells: Sequence[str], tag: str = "td", mark: str = "") -> str:
        return f"<tr{mark}>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(r) for r in rows) + "".join(line(r, mark=' class="ours"') for r in ours)
    return f'<div class="scroll"><table>{line(header, "th")}{body}</table></div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _captioned(chart: str, caption: str) -> str:
    return chart.replace("</figure>", f"<figcaption>{escape(caption)}</figcaption></figure>")


def _held_out_seconds(result: EvaluationResult) -> Series:
    return np.arange(result.first, result.n_frames) / result.fps


def _broken_at(values: Series, cuts: Sequence[int]) -> Series:
    """A copy with a gap at every cut: no line across a jump."""
    out = values.astype(np.float64)
    out[list(cuts)] = np.nan
    return out


def _preset(result: EvaluationResult) -> str:
    return f"preset {result.preset}" if result.preset else ""


def _mean(values: Series, digits: int, unit: str = "") -> str:
    """The mean with its unit, or a dash where nothing could be measured."""
    value = mean(values)
    return f"{value:.{digits}f}{unit}" if np.isfinite(value) else "–"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
