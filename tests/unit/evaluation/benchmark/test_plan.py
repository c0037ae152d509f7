from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from synctalk.benchmark.cells import Cell, cells_of, openface_tables
from synctalk.benchmark.plan import Plan, load_plan, plan_of
from synctalk.benchmark.run import files_of
from synctalk.benchmark.switches import SWITCHES, changed
from synctalk.errors import InputError
from synctalk.evaluation.quality import OpenFacePair
from synctalk.training import preset

PLAN = """
title = "Two people"
protocols = ["reconstruction", "cross-audio", "clip-length", "training-time"]
seeds = [0, 1]
lengths_s = [10, 30]
budgets = [300]

[subjects.ann]
video = "ann.mp4"
public = true

[subjects.bob]
dataset = "bob.dataset"

[sounds.english]
file = "english.wav"
role = "Audio A"

[methods.ours]
kind = "ours"
preset = "demo"

[methods.still]
kind = "mean-mouth"
of = "ours"

[methods.peer]
kind = "import"
paths = {bob = "peer.mp4", "bob/english" = "peer_english.mp4"}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return load_plan(written(tmp_path, PLAN))


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def names(cells: list[Cell], protocol: str, subject: str) -> list[tuple[str, int]]:
    return [
        (c.method.name, c.seed)
        for c in cells
        if c.protocol == protocol and c.subject.name == subject
    ]


def test_a_plan_is_read_and_its_paths_are_relative_to_it(plan: Plan, tmp_path: Path) -> None:
    assert plan.subjects[0].video == tmp_path / "ann.mp4"
    assert plan.subjects[0].public
    assert not plan.subjects[1].public
    assert plan.method("peer").paths["bob"] == tmp_path / "peer.mp4"
    assert plan.lengths_s == (10.0, 30.0)


def test_weights_are_known_by_what_they_are_not_by_how_the_folder_is_spelt(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "plans").mkdir()
    plan = load_plan(written(tmp_path / "plans", 'weights = "../weights"\n' + PLAN))
    assert plan.weights == tmp_path / "weights"
    (tmp_path / "weights" / "net.pth").write_bytes(b"123")
    assert files_of(plan.weights) == [("net.pth", 3)]
    assert files_of(None) == []


def test_every_cell_comes_once_and_seeds_are_for_what_is_trained(plan: Plan) -> None:
    cells = cells_of(plan)
    variants = [
        ("ours, 10 s of footage", 0), ("ours, 10 s of footage", 1),
        ("ours, 30 s of footage", 0), ("ours, 30 s of footage", 1),
        ("ours, 300 steps", 0), ("ours, 300 steps", 1),
    ]  # fmt: skip
    methods = [("source", 0), ("ours", 0), ("ours", 1), ("still", 0), ("still", 1)]
    assert names(cells, "reconstruction", "ann") == [*methods, *variants]
    assert names(cells, "reconstruction", "bob") == [*methods, ("peer", 0), *variants]
    assert names(cells, "cross-audio", "bob") == [*methods, ("peer", 0)]
    assert names(cells, "cross-audio", "ann") == methods


def test_a_still_mouth_is_the_avatar_of_its_method(plan: Plan) -> None:
    still = next(c for c in cells_of(plan) if c.method.name == "still")
    assert (still.method.kind, still.method.preset, still.method.lips) == ("ours", "demo", "mean")


def test_frame_rates_are_measured_of_whole_methods_alone(plan: Plan) -> None:
    timed = replace(plan, protocols=("speed",))
    assert [(c.protocol, c.subject.name, c.method.name, c.seed) for c in cells_of(timed)] == [
        ("speed", "ann", "ours", 0), ("speed", "bob", "ours", 0),
    ]  # fmt: skip


def test_a_method_takes_part_where_it_says(plan: Plan) -> None:
    still = replace(plan.methods[1], protocols=("reconstruction",), subjects=("ann",))
    part = replace(plan, methods=(plan.methods[0], still, plan.methods[2]))
    shown = {(c.protocol, c.subject.name) for c in cells_of(part) if c.method.name == "still"}
    assert shown == {("reconstruction", "ann")}


def test_other_steps_of_a_method_that_has_some_are_named_by_their_own(plan: Plan) -> None:
    short = replace(plan.methods[0], name="ours, 900 steps", steps=900)
    part = replace(plan, methods=(short,), varied=short.name, protocols=("training-time",))
    assert {c.method.name for c in cells_of(part)} == {"ours, 900 steps", "ours, 300 steps"}


def test_a_plan_is_narrowed_to_what_is_named(plan: Plan) -> None:
    part = plan.narrowed(subjects=("bob",), methods=("still",), protocols=("cross-audio",))
    assert [s.name for s in part.subjects] == ["bob"]
    assert {c.method.name for c in cells_of(part)} == {"source", "ours", "still"}
    assert {c.protocol for c in cells_of(part)} == {"cross-audio"}
    assert cells_of(part) == [c for c in cells_of(plan) if c in cells_of(part)]
    with pytest.raises(InputError, match="no subject 'eve'"):
        plan.narrowed(subjects=("eve",))


def test_ablations_try_every_switch_of_their_tables(tmp_path: Path) -> None:
    text = PLAN.replace('"cross-audio", ', '"cross-audio", "ablation", ', 1)
    plan = load_plan(written(tmp_path, 'ablations = ["VI", "VII"]\n' + text))
    cells = [c for c in cells_of(plan) if c.method.without and c.subject.name == "ann"]
    tried = {c.method.without[0]: c.protocol for c in cells}
    assert tried == {
        "audio-visual-encoder": "reconstruction",
        "facial-animation-capturer": "reconstruction",
        "head-sync-stabilizer": "reconstruction",
        "semantic-weighting": "reconstruction",
        "torso-restorer": "cross-audio",
    }


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_training_where_it_says_so(name: str) -> None:
    whole, switch = preset("demo"), SWITCHES[name]
    assert (changed(whole, (name,)) == whole) == (switch.place != "training")


def test_no_two_switches_train_the_same() -> None:
    names = [name for name, switch in SWITCHES.items() if switch.place == "training"]
    configs = [changed(preset("demo"), (name,)) for name in names]
    assert all(a != b for i, a in enumerate(configs) for b in configs[:i])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = 3", "title: 3 is no str"),
        ("protocol = []", "no key 'protocol'"),
        ('protocols = ["dance"]', "no value 'dance'"),
        (
            PLAN + "\n[methods.x]\nkind = 'ours'\nwithout = ['nose']",
            "methods.x: there is no switch",
        ),
        (PLAN + "\n[methods.x]\nkind = 'mean-mouth'\nof = 'y'", "methods.x.of: there is no method"),
        (PLAN + "\n[methods.x]\nkind = 'import'", "methods.x: paths"),
        (PLAN + "\n[subjects.x]\nsize = 256", "subjects.x: give video"),
        (PLAN + "\n[sounds.x]\nfile = 'x.wav'\nrole = 'C'", "sounds.x: there is no role"),
        (PLAN + "\n[sounds.x]\nrole = 'OOD'", "sounds.x"),
        ("[subjects.x]\nvideo = 'x.mp4'", "at least one subject and one method"),
        ('metrics = ["beauty"]\n' + PLAN, "there is no metric 'beauty'"),
        ('varied = "x"\n' + PLAN, "varied: there is no method of kind ours 'x'"),
        ('varied = "peer"\n' + PLAN, "varied: there is no method of kind ours 'peer'"),
        (
            PLAN + "\n[methods.x]\nkind='avatar'\npaths={ann='a'}\nwithout=['fixed-splats']",
            "methods.x.without: fixed-splats changes training",
        ),
        (
            PLAN + "\n[methods.x]\nkind = 'source'\nopenface = {ann = 'a.csv'}",
            "subjects.ann: x has a table, openface has none",
        ),
        (
            PLAN.replace("public = true", "openface = 'a.csv'")
            + "\n[methods.x]\nkind = 'source'\nopenface = {ann = 'a.csv'}",
            "methods.x.openface: a table is of one rendering, and there are several seeds",
        ),
        ("= 3", "not TOML"),
    ],
)
def test_a_wrong_plan_is_refused_by_the_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_plan(written(tmp_path, text))
    assert said in caught.value.message
    assert caught.value.reason == "BAD_PLAN"
    assert caught.value.remedy


def test_openfaces_tables_are_for_own_sound_and_the_method_that_they_name(tmp_path: Path) -> None:
    text = PLAN.replace("public = true", "openface = 'ann.csv'").replace("[0, 1]", "[0]")
    text = text.replace('preset = "demo"', 'preset = "demo"\nopenface = {ann = "ours.csv"}')
    cells = cells_of(load_plan(written(tmp_path, text)))
    tables = {c.name: pair for c in cells if (pair := openface_tables(c)) is not None}
    pair = OpenFacePair(tmp_path / "ann.csv", tmp_path / "ours.csv")
    assert tables == {"reconstruction · ann · ours": pair}


def test_the_papers_plan_learns_from_a_minute_and_knows_what_one_costs() -> None:
    plan = load_plan(Path(__file__).parents[4] / "benchmarks" / "plans" / "paper.toml")
    assert plan.lengths_s == (10, 30, 60)
    assert plan.price_per_hour is not None


def test_without_a_plan_footage_is_enough(tmp_path: Path) -> None:
    plan = plan_of([tmp_path / "me.mp4"], "demo", 300, (0,))
    assert [(c.protocol, c.method.name) for c in cells_of(plan)] == [
        ("reconstruction", "source"), ("reconstruction", "ours"), ("reconstruction", "mean mouth"),
        ("speed", "ours"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="another name"):
        plan_of([tmp_path / "a" / "me.mp4", tmp_path / "me.mp4"], "demo", None, (0,))
