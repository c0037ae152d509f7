"""Rows beside the paper's, out of cells whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synctalk.benchmark.curves import curves
from synctalk.benchmark.endurance import repeated, windows
from synctalk.benchmark.figures import all_figures, paper_tables, protocol_tables
from synctalk.benchmark.page import page, verdict
from synctalk.benchmark.paper import TABLES
from synctalk.benchmark.result import CellResult, Failure, Scored
from synctalk.benchmark.tables import grouped, table_rows
from synctalk.evaluation.quality import METRICS

MACHINE = {"cpu": "Abacus", "cores": 2, "gpu": "none"}


def cell(method: str, plain: dict[str, float], blended: dict[str, float], **facts: object):  # type: ignore[no-untyped-def]
    absent = {"lpips_alex": {"reason": "NO_WEIGHTS", "remedy": "Fetch <them>."}}
    outputs = {"plain": Scored(plain, absent), "blended": Scored(blended, absent)}
    usual = {"digest": "x", "protocol": "reconstruction", "subject": "Ann", "kind": "ours"}
    run = {"train_s": 630.0, "trained_steps": 900.0}
    return CellResult(
        **{**usual, "method": method, "outputs": outputs, "machine": MACHINE, "side": 512,
           "run": run, **facts}
    )  # fmt: skip


WHOLE = cell("ours", {"psnr": 35.0, "lmd": 1.6}, {"psnr": 37.8})
DEAF = cell(
    "audio-visual-encoder", {"psnr": 34.8, "lmd": 2.1}, {"psnr": 37.5},
    without=("audio-visual-encoder",), base="ours",
)  # fmt: skip


RATES = replace(WHOLE, protocol="speed", outputs={}, run={"fps_one_stream": 60.0})


def test_the_papers_tables_are_whole_and_name_known_metrics() -> None:
    for table in TABLES.values():
        assert {len(row) for row in table.rows.values()} == {len(table.metrics)}
        assert set(table.ours) <= table.rows.keys()
        for column in table.metrics:
            assert column.rpartition(" ")[2] in {*METRICS, "lpips", "fps"}
    best = TABLES["I"].rows["SyncTalk++"]
    assert best == (36.3779, 0.0201, 0.9826, 3.8771, 13.7215, 39.3769, 2.5331, 2.5211, 7.8298,
                    5400.0, 101.20)  # fmt: skip
    assert TABLES["I"].rows["Wav2Lip"][-2] is None


def test_our_row_says_where_it_was_measured() -> None:
    row = table_rows("I", grouped([WHOLE, RATES]))[-1]
    assert (row.name, row.subject, row.ours, row.paper) == ("ours", "Ann", True, False)
    assert row.where == "Abacus, 2 cores, trained 10.5 min, 512×512"
    values = dict(zip(TABLES["I"].metrics, row.figures, strict=True))
    assert values["psnr"].value == 35.0
    assert values["fps"].value == 60.0
    assert values["lpips"].value is None
    assert values["lpips"].why == "Fetch <them>."


@pytest.mark.parametrize(("lag", "unsure"), [(1.0, False), (14.0, True)])
def test_a_judge_that_mistakes_the_source_is_called_unsure(lag: float, unsure: bool) -> None:
    said = {"sync_own_confidence": 0.16, "sync_own_lag": 9.0, "psnr": 35.0}
    source = cell("source", {**said, "sync_own_lag": lag}, {}, kind="source")
    elsewhere = cell("ours", said, {}, subject="Bob")
    groups = grouped([source, cell("ours", said, {}), elsewhere])
    figures = [g.figure(name, "plain") for g in groups for name in said]
    assert [f.unsure for f in figures] == [unsure, unsure, False] * 2 + [False] * 3
    assert ('9.0 <span class="of">judge unsure here' in all_figures(groups)) == unsure
    html = page("t", [source, elsewhere], [Path()] * 2)
    assert ("Judge unsure here: in the own video of Ann" in html) == unsure


def test_times_of_a_busy_machine_are_bounds() -> None:
    run = {**WHOLE.run, "train_cpu_s": 300.0, "train_others_cores": 1.1}
    results = [replace(WHOLE, run=run, others_cores=1.2), replace(RATES, others_cores=0.9)]
    row = table_rows("I", grouped(results))[-1]
    assert row.where == "Abacus, 2 cores, trained ≤ 10.5 min, 5.0 min of CPU time, 512×512"
    figures = dict(zip(TABLES["I"].metrics, row.figures, strict=True))
    assert (figures["train_s"].bound, figures["fps"].bound, figures["psnr"].bound) == ("≤", "≥", "")
    html = paper_tables(grouped(results))
    assert "≤ 10.5 min" in html
    assert "≥ 60.0" in html
    short = cell("ours, 300 steps", {"psnr": 31.0}, {}, run={"train_s": 20.0, "trained_steps": 300})
    assert "training steps" in curves(grouped([*results, short]))


def test_training_is_counted_in_minutes_on_a_quiet_machine() -> None:
    short = cell("ours, 300 steps", {"psnr": 31.0}, {}, run={"train_s": 20.0, "trained_steps": 300})
    assert "minutes of training" in curves(grouped([WHOLE, short]))


def test_footage_is_varied_of_one_method() -> None:
    base = cell("ours, 900 steps", {"psnr": 33.0}, {}, run={"footage_s": 60.0})
    less = cell(
        "ours, 900 steps, 10 s of footage", {"psnr": 30.0}, {}, run={"footage_s": 10.0},
        base=base.method,
    )  # fmt: skip
    more = cell("ours", {"psnr": 39.0}, {}, run={"footage_s": 60.0})
    html = curves(grouped([more, base, less]))
    assert "Quality by footage" in html
    assert html == curves(grouped([replace(more, outputs={}), base, less]))


def test_what_is_not_measured_yet_is_named() -> None:
    html = page("Half", [WHOLE], [Path()], ["reconstruction · <Bob> · ours"])
    assert "1 of 2 cells" in html
    assert "<li>reconstruction · &lt;Bob&gt; · ours</li>" in html


def test_seeds_become_a_mean_with_its_spread() -> None:
    other = cell("ours", {"psnr": 36.0}, {}, seed=1)
    (row,) = [r for r in table_rows("I", grouped([WHOLE, other])) if not r.paper]
    assert row.figures[0].value == 35.5
    assert row.figures[0].spread == pytest.approx(0.7071, abs=1e-4)


def test_the_ablation_begins_with_the_whole_method_and_ends_without_its_blending() -> None:
    shorter = cell("ours, 300 steps", {"psnr": 30.0}, {"psnr": 31.0})
    rows = [r for r in table_rows("VI", grouped([shorter, WHOLE, DEAF])) if not r.paper]
    names = ["full", "w/o Audio-Visual Encoder", "w/o Portrait-Sync Generator"]
    assert [r.name for r in rows] == names
    psnr_lmd = [(r.figures[0].value, r.figures[2].value) for r in rows]
    assert psnr_lmd == [(37.8, 1.6), (37.5, 2.1), (35.0, 1.6)]


def test_the_verdict_is_of_the_first_of_ours_not_of_the_shortest() -> None:
    shorter = cell("ours, 300 steps", {"psnr": 30.0, "lmd": 3.0}, {})
    still = cell("still", {"psnr": 31.0, "lmd": 2.0}, {}, kind="mean-mouth")
    words = verdict(grouped([WHOLE, shorter, still]))
    assert "at 35.0 dB" in words
    assert "0.80 times" in words


def test_without_our_rows_there_is_no_table() -> None:
    failed = cell("ours", {}, {}, failure=Failure("X", "It broke.", "Mend it."))
    assert table_rows("I", grouped([failed])) == []
    assert "Table IV" not in paper_tables(grouped([WHOLE]))


def test_tables_are_escaped_and_say_what_an_absent_metric_takes() -> None:
    html = paper_tables(grouped([cell("<ours>", {"psnr": 35.0}, {"psnr": 36.0})]))
    assert "&lt;ours&gt;" in html
    assert "<ours>" not in html
    assert 'title="Fetch &lt;them&gt;."' in html


def test_an_oracle_is_never_the_best() -> None:
    oracle = cell("tracked", {"psnr": 39.0}, {"psnr": 41.0}, kind="oracle")
    still = cell("still", {"psnr": 33.0}, {"psnr": 34.0}, kind="mean-mouth")
    html = paper_tables(grouped([WHOLE, oracle, still]))
    assert '<td class="best">35.00</td>' in html
    assert '<td class="best">39.00</td>' not in html


def test_a_table_of_dashes_is_a_sentence_that_says_what_it_takes() -> None:
    absent = {"lse_c": {"reason": "NO_WEIGHTS", "remedy": "Fetch SyncNet."}}
    spoken = cell(
        "ours", {}, {}, protocol="cross-audio", sound="a", role="Audio A",
        outputs={"blended": Scored({"niqe": 7.0}, absent)},
    )  # fmt: skip
    html = paper_tables(grouped([spoken]))
    assert "Table III" in html
    assert "Fetch SyncNet." in html
    assert "<table" not in html


def test_every_switch_says_what_it_does() -> None:
    html = protocol_tables(grouped([WHOLE, DEAF]))
    assert "Lips from log-mels and loudness" in html
    assert "ours: the whole method" in html


def test_long_audio_is_repeated_and_looked_at_every_minute() -> None:
    wav = repeated(np.arange(16_000, dtype=np.float32), 2.5)
    assert len(wav) == 40_000
    assert wav[16_000] == wav[32_000] == 0
    spans = windows(25 * 150)
    assert [s.start / 25 for s in spans] == [0, 60, 120]
    assert all(len(s) == 125 for s in spans)
    assert windows(25 * 100)[-1].stop == 2500, "the end is looked at, too"
    assert windows(50) == [range(0, 50)]
