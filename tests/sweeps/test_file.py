"""A sweep file: its product is the runs, and a wrong word is answered in a line."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from softtf.config.dotted import with_settings
from softtf.errors import UserError
from softtf.paper import table_named
from softtf.paper.runs import Wish, plan
from softtf.recipes.recipes import recipe_named
from softtf.sweeps.file import PLAN, name_of, read_plan, read_sweep, save_plan
from support.sweeps import SETTINGS, sweep_file

FOLDER = Path("runs/x")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (
            {"feature_cache": ["off", "x"], "train.learning_rate": [1.0, 2.0]},
            "vary: feature_cache: off and x are the same",
        ),
        ({"evaluate.batch_size": [30, 60]}, "vary: evaluate.batch_size: 30 and 60 are the same run"),
    ],
)
def test_a_varied_setting_that_makes_no_other_run_is_refused(vary: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_sweep(sweep_file(vary=vary, seeds=[0, 0])).jobs(FOLDER)


def test_every_combination_is_a_run() -> None:
    vary: dict[str, list[Any]] = {
        "train.learning_rate": [1.0, 2.0],
        "learner.adapt.layers": [5, "5-6"],
        "evaluate.policies": [["prompt-id"], []],
    }
    jobs = read_sweep(sweep_file(recipes=["quickstart", "cifar100-10"], vary=vary, seeds=[0, 3])).jobs(FOLDER)
    expected = set()
    for recipe, rate, layers, policies, seed in product(
        ("quickstart", "cifar100-10"), (1.0, 2.0), ("5", "5-6"), (("prompt-id",), ()), (0, 3)
    ):
        values = {"train.learning_rate": rate, "learner.adapt.layers": layers, "evaluate.policies": list(policies)}
        expected.add(with_settings(recipe_named(recipe, "dual-prompt+soft-tf"), {**SETTINGS, **values, "seed": seed}))
    assert {job.config for job in jobs} == expected and len(jobs) == len({job.path for job in jobs}) == 32
    title = "dual-prompt+soft-tf on quickstart, train.learning_rate=1.0, learner.adapt.layers=5-6"
    assert any(job.title.startswith(title) for job in jobs)


def test_what_a_file_leaves_out_is_the_default() -> None:
    Path("short.yaml").write_text("recipes: [quickstart]\n")
    (job,) = read_sweep(Path("short.yaml")).jobs(FOLDER)
    assert job.config == recipe_named("quickstart")


def test_the_same_run_has_one_place_in_a_sweep_and_in_a_table() -> None:
    wish = Wish("mini", settings={"device": "cpu"}, folder=FOLDER)
    (cell,) = plan([row for row in table_named("methods").rows if row.trained.method == "ncm"], ["quickstart"], wish)
    sweep = sweep_file(
        methods=["ncm"],
        seeds=[0],
        scale="mini",
        vary={},
        settings={"device": "cpu", "evaluate.policies": list(cell.row.trained.policies)},
    )
    assert [job.path for job in read_sweep(sweep).jobs(FOLDER)] == [job.path for job in cell.jobs]


def test_runs_of_other_numbers_of_tasks_have_other_places() -> None:
    vary = {"stream.num_tasks": [None, 2, 5]}
    jobs = read_sweep(sweep_file(methods=["ncm"], seeds=[0], vary=vary, settings={"device": "cpu"})).jobs(FOLDER)
    assert len({job.path for job in jobs}) == 3


def test_a_file_of_rows_is_split_as_softtf_run_splits_it() -> None:
    Path("mine.csv").write_text("text,label,task\n" + "".join(f"t{i},{i % 4},{i % 2}\n" for i in range(8)))
    (job,) = read_sweep(
        sweep_file(recipes=["own-texts"], methods=["ncm"], seeds=[0], vary={}, settings={"stream.source": "mine.csv"})
    ).jobs(FOLDER)
    assert (job.config.stream.task_column, job.config.stream.num_tasks) == ("task", None), "all that it names"


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"methds": ["ncm"]}, ["small.yaml", "'methds'", "'methods'"]),
    ({"recipes": "quickstart"}, ["small.yaml.recipes", "a list"]),
    ({"recipes": []}, ["recipes is empty"]),
    ({"recipes": ["quikstart"]}, ["'quikstart'", "'quickstart'"]),
    ({"methods": ["dual-promt"]}, ["dual-promt on quickstart", "'dual-prompt'"]),
    ({"seeds": ["x"]}, ["seeds[0]", "an integer"]),
    ({"scale": "mnii"}, ["'mnii'", "'mini'"]),
    ({"settings": ["a"]}, ["settings must be"]),
    ({"settings": {"train.epoch": 1}}, ["'epoch'", "'epochs'"]),
    ({"settings": {"trian.epochs": 1}}, ["'trian'", "'train'"]),
    ({"settings": {"seed": 1}}, ["seeds: [...]"]),
    ({"vary": {"method": ["ncm"]}}, ["methods: [...]"]),
    ({"vary": {"train.schedule": "cosine"}}, ["vary: train.schedule must be a list"]),
    ({"vary": {"train.schedule": []}}, ["vary: train.schedule must be a list"]),
    ({"vary": {"train.epochs": [1]}}, ["train.epochs is in settings and in vary"]),
    ({"vary": {"train.learning_rate": [0.1, -1]}}, ["train.learning_rate=-1: ", "above 0"]),
    ({"vary": {"learner.adapt.layers": ["5", "x"]}}, ["learner.adapt.layers=x: ", "'x'"]),
    ({"methods": ["dual-prompt+soft-tf", "ncm"]}, ["ncm on quickstart", "'adapt'"]),
]


@pytest.mark.parametrize(("changes", "parts"), WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_a_wrong_word_is_answered_in_a_line(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as told:
        read_sweep(sweep_file(**changes)).jobs(FOLDER)
    assert [part for part in parts if part not in str(told.value)] == [] and "\n" not in str(told.value)


def test_a_file_that_is_no_sweep_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"no\.yaml cannot be read"):
        read_sweep(Path("no.yaml"))
    Path("bad.yaml").write_text("recipes: [quickstart\nseeds: 1")
    with pytest.raises(UserError, match=r"bad\.yaml: line 2 is not valid YAML"):
        read_sweep(Path("bad.yaml"))


def test_the_plan_is_read_as_it_was_written() -> None:
    jobs = read_sweep(sweep_file()).jobs(FOLDER)
    save_plan(jobs, FOLDER)
    assert read_plan(FOLDER) == [(name_of(job, FOLDER), job.title) for job in jobs]


def test_a_plan_keeps_the_runs_of_others_that_were_begun() -> None:
    jobs = read_sweep(sweep_file()).jobs(FOLDER)
    begun, others = jobs[0], jobs[2:]
    save_plan(jobs[:2], FOLDER)
    begun.path.mkdir(parents=True)
    save_plan(others, FOLDER)
    assert read_plan(FOLDER) == [(name_of(job, FOLDER), job.title) for job in [*others, begun]]


@pytest.mark.parametrize("text", ["{}", '{"runs": [{"name": "a"}]}', '{"runs": [{"name": "../a", "title": ""}]}'])
def test_a_plan_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is no folder of `softtf sweep`"):
        read_plan(FOLDER)
    FOLDER.mkdir(parents=True)
    (FOLDER / PLAN).write_text(text)
    with pytest.raises(UserError, match=PLAN):
        read_plan(FOLDER)
