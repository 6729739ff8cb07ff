"""`softtf compare --source DATA`: the runs that it makes, and the sentence that says what pays."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from cli import BACKBONE, contents, output, refused
from softtf.cli.compare_data import AT_ONCE, TASK_BY_TASK, Trial, configs, verdict
from softtf.cli.options import Compare
from softtf.report.found import read_run

Capture = pytest.CaptureFixture[str]
BASE = ("compare", "--source", "digits", "--recipe", "quickstart")
SMALL = (
    *(*BASE, "--set", f"backbone.name={BACKBONE[1]}", "backbone.image-size=32", "device=cpu", "feature_cache=off"),
    *("stream.train_per_class=6", "stream.test_per_class=3", "stream.num-tasks=2"),
)


@pytest.mark.slow
def test_it_learns_task_by_task_and_anew_says_what_pays_and_goes_on(tmp_path: Path, capsys: Capture) -> None:
    shown = output(capsys, *SMALL, "--output", tmp_path / "all")
    tasks = {path.name: read_run(path).tasks for path in (tmp_path / "all").iterdir()}
    assert tasks == dict.fromkeys(TASK_BY_TASK, 2) | dict.fromkeys(AT_ONCE, 1)
    trials = [Trial(read_run(tmp_path / "all" / name), name in AT_ONCE) for name in (*TASK_BY_TASK, *AT_ONCE)]
    for trial in trials:
        matrix = trial.run.headline.matrix
        assert trial.pooled == pytest.approx(100 * sum(matrix.correct[-1]) / 30) and trial.update > 0
        assert trial.run.method.split()[0] in shown and f"{trial.pooled:.1f}" in shown
        own, shared = (sorted(trial.run.folder.learner.glob(f"{name}-*.safetensors")) for name in ("task", "shared"))
        size = sum(file.stat().st_size for file in [*own, *shared[-1:]])
        assert trial.size == size > 0 and f"{size / 1e6:,.2f}" in shown
    assert " ".join(verdict(trials).split()) in " ".join(shown.split())
    before = contents(tmp_path / "all")
    assert output(capsys, *SMALL, "--output", tmp_path / "all").count(" before\n") == len(tasks)
    assert "seed=0, not 1" in refused(capsys, *SMALL, "seed=1", "--output", tmp_path / "all")
    assert contents(tmp_path / "all") == before


@dataclass(frozen=True)
class Sized(Trial):
    """A trial without files."""

    size: int = 1


def trial(method: str, right: int, seconds: float, at_once: bool = False, size: int = 1) -> Trial:
    """Return a trial of 1,000 test samples."""
    matrix = SimpleNamespace(pooled=right / 10, total=[500, 500])
    event = {"event": "epoch", "task": 1, "seconds": seconds, "kept": 1.0}
    config = SimpleNamespace(train=SimpleNamespace(epochs=9))
    run = SimpleNamespace(method=method, config=config, headline=SimpleNamespace(matrix=matrix), events=[event])
    return Sized(cast(Any, run), at_once, size)


@pytest.mark.parametrize(
    ("anew", "said"),
    [
        (600, "It is 20.0 points above training anew on all data (FT, all at once in 9 epochs: 60.0% in 2 min 1 s)."),
        (790, "is level with training anew on all data"),
        (870, "is 7.0 points below training anew on all data"),
    ],
)
def test_a_difference_counts_from_two_standard_errors_on(anew: int, said: str) -> None:
    trials = [trial("NCM", 500, 1), trial("RanPAC", 800, 4), trial("FT", anew, 120, True), trial("Head", 300, 9, True)]
    assert said in verdict(trials) and "(RanPAC: 80.0% right, its newest task learned in 5.0 s)" in verdict(trials)


def test_no_mistake_on_both_sides_is_level() -> None:
    said = verdict([trial("NCM", 1000, 1), trial("FT", 1000, 120, True)])
    assert said.startswith("Learning task by task (NCM: 100.0% right") and "is level with training anew" in said


def test_it_names_what_takes_less_disk_unless_something_smaller_is_as_accurate() -> None:
    sizes = {"A": (900, 9_000_000), "B": (900, 10_000_000), "C": (800, 2_500_000), "D": (700, 3_000_000), "E": (100, 0)}
    said = verdict([trial(name, right, 1, size=size) for name, (right, size) in sizes.items()])
    assert said.startswith("Task by task, the most accurate is A: 90.0% right")
    assert said.endswith(". With 2.50 MB on disk C has 80.0%. With 0.00 MB on disk E has 10.0%.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "--recipe", "quickstart", "."), "--recipe goes with --source"),
        ((*BASE, "--set", "learner.exemplars=3"), "not every method has it"),
        ((*BASE, "--csv"), "leave out the runs"),
        (("compare", "--source", "nowhere.csv"), "nowhere.csv"),
        (("compare", "--source", "nowhere"), "error: unknown data set or folder 'nowhere'"),
        ((*BASE, "--set", "train"), "write NAME=VALUE"),
        ((*BASE, "--set", "stream.source=birds"), "give --source"),
        ((*BASE, "--no-at-once", "--set", "train.epochs=9"), "leave out --no-at-once"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_no_folder(words: tuple[str, ...], said: str, capsys: Capture) -> None:
    assert said in refused(capsys, *words)
    assert not Path("runs/compare").exists()


def test_training_at_once_goes_on_to_its_end_and_can_be_left_out_or_given_other_epochs() -> None:
    made = configs(Compare(source="digits", recipe="quickstart"), "digits")
    assert {(made[name].train.epochs, made[name].train.schedule) for name in AT_ONCE} == {(20, "cosine")}
    options = Compare(source="digits", recipe="quickstart", set=("train.epochs=7", "stream.num_tasks=3"))
    made = configs(options, "digits")
    assert {name: made[name].train.epochs for name in AT_ONCE} == dict.fromkeys(AT_ONCE, 7)
    assert [config.stream.num_tasks for config in made.values()] == [3] * len(TASK_BY_TASK) + [1] * len(AT_ONCE)
    assert tuple(configs(replace(options, set=(), at_once=False), "digits")) == TASK_BY_TASK


@pytest.mark.parametrize("none", ["None", "null"])
def test_a_setting_can_be_set_to_none_as_other_options_write_it_and_as_yaml_does(none: str) -> None:
    made = configs(Compare(source="digits", recipe="quickstart", set=(f"stream.num-tasks={none}",)), "digits")
    assert made["ncm"].stream.num_tasks is None


@pytest.mark.parametrize("rows", [False, True])
def test_own_images_are_dealt_to_tasks_of_two_classes_or_more(rows: bool, tmp_path: Path) -> None:
    files = [tmp_path / f"photos/{name}/{i}.png" for name in "abcd" for i in range(2)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(file)
    source = tmp_path / "photos"
    if rows:
        source = tmp_path / "photos.csv"
        named = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
        source.write_text("\n".join(["image,label", *named]))
    made = configs(Compare(source=str(source)), str(source))
    assert [(made[name].recipe, len(made[name].stream.build())) for name in TASK_BY_TASK] == [("own-images", 2)] * 4
    made = configs(Compare(source=str(source), set=("stream.num_tasks=3",)), str(source))
    assert made["ncm"].stream.num_tasks == 3


@pytest.mark.parametrize(
    ("settings", "tasks"), [((), 3), (("stream.task_column=month",), 2), (("stream.num_tasks=1",), 1)]
)
def test_a_files_task_column_divides_it_as_in_run(settings: tuple[str, ...], tasks: int, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    rows = [f"text {i},{i % 6},task {i % 3},month {i % 2}" for i in range(12)]
    file.write_text("\n".join(["text,label,task,month", *rows]))
    made = configs(Compare(source=str(file), set=settings), str(file))
    assert [len(config.stream.build()) for config in made.values()] == [tasks] * len(TASK_BY_TASK) + [1] * len(AT_ONCE)
    assert all(config.stream.source == str(file) for config in made.values())
