"""`softtf compare` and `softtf run ... --seed 0 1`: one run a seed, and their mean and deviation in one row."""

import csv
import io
import json
import shutil
from pathlib import Path
from statistics import mean, stdev

import pytest

from cli import TINY, call, contents, output, read_json, refused, results, unfinish
from softtf.evaluation.metrics import METRICS
from softtf.inference.policy import BEST, parse_policy
from softtf.report.comparison import groups_of, over_seeds
from softtf.report.found import read_run
from softtf.runs import learn as learning
from support.tiny import SMALL_PROJECTION

Capture = pytest.CaptureFixture[str]
SEEDS = ("--seed", 0, 1)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds") / "both"
    assert call(*TINY, *SEEDS, "--output", folder) == 0
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_each_seed_is_the_run_that_it_is_alone(seeds: Path, run: Path, tmp_path: Path) -> None:
    assert results(seeds / "seed-0") == results(run)
    assert call(*TINY, "--seed", 1, "--output", tmp_path / "one") == 0
    assert results(seeds / "seed-1") == results(tmp_path / "one")


def test_without_a_folder_seeds_have_their_usual_ones(capsys: Capture) -> None:
    out = output(capsys, *TINY, "--seed", 4, 3, 4)
    names = [f"runs/quickstart-dual-prompt+soft-tf-seed{seed}" for seed in (4, 3)]
    assert sorted(map(str, Path("runs").iterdir())) == sorted(names)
    assert " ".join(out.split()).endswith(f"as a page: softtf report {' '.join(names)}")


def test_the_same_command_goes_on_and_leaves_what_is_finished(seeds: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = Path(shutil.copytree(seeds, tmp_path / "both"))
    shutil.rmtree(folder / "seed-1")
    before = contents(folder / "seed-0")

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "score_task", stop)
        capsys.readouterr()
        assert call(*TINY, *SEEDS, "--output", folder) == 130
    assert "The same command goes on" in capsys.readouterr().out
    assert not (folder / "seed-1/summary.json").exists()
    assert "before\n" in output(capsys, *TINY, *SEEDS, "--output", folder)
    assert contents(folder / "seed-0") == before and results(folder / "seed-1") == results(seeds / "seed-1")


def test_runs_of_other_settings_are_not_gone_on_with(seeds: Path, capsys: Capture) -> None:
    before = contents(seeds)
    told = refused(capsys, *TINY, "--train.epochs", 2, *SEEDS, "--output", seeds)
    assert "holds a run with train.epochs=1, not 2" in told and contents(seeds) == before


def test_seeds_are_one_row_and_the_oracle_another(seeds: Path, capsys: Capture) -> None:
    rows = rows_of(output(capsys, "compare", seeds, "--csv"))
    summaries = [read_json(seeds / name / "summary.json") for name in ("seed-0", "seed-1")]
    assert [row["policy"] for row in rows] == [p["title"] for p in summaries[0]["policies"].values()]
    for row, code in zip(rows, summaries[0]["policies"], strict=True):
        assert (row["runs"], row["seeds"]) == ("2", "0 1")
        for name in METRICS:
            values = [summary["policies"][code][name] for summary in summaries]
            assert float(row[name]) == pytest.approx(mean(values), abs=1e-4)
            assert float(row[f"{name}_std"]) == pytest.approx(stdev(values), abs=1e-4)
    shown = " ".join(output(capsys, "compare", seeds / "seed-0", seeds / "seed-1").split())
    values = [summary["policies"]["oracle"]["acc"] for summary in summaries]
    assert f"{mean(values):.1f} ± {stdev(values):.1f}" in shown and "Mean ± standard deviation over seeds" in shown
    markdown = output(capsys, "compare", seeds, "--markdown").splitlines()
    assert len(markdown) == 6 and all(line.count("|") == markdown[0].count("|") for line in markdown)


def test_runs_on_other_weights_or_with_other_settings_are_rows_of_their_own(seeds: Path, tmp_path: Path) -> None:
    runs = [read_run(seeds / name) for name in ("seed-0", "seed-1")]
    policies = len(runs[0].policies)
    assert len(groups_of(runs)) == policies
    folder = Path(shutil.copytree(seeds / "seed-1", tmp_path / "other"))
    summary = read_json(folder / "summary.json")
    summary.pop("sha256")
    (folder / "summary.json").write_text(json.dumps(summary | {"weights": "others"}))
    assert len(groups_of([runs[0], read_run(folder)])) == 2 * policies
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("key_weight: 1.0", "key_weight: 0.5"))
    shutil.copy(seeds / "seed-1/summary.json", folder)
    groups = groups_of([runs[0], read_run(folder)])
    assert {group.about for group in groups} == {"learner.key_weight=1.0", "learner.key_weight=0.5"}


def test_statistics_that_a_policy_does_not_read_part_no_runs(seeds: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(seeds / "seed-1", tmp_path / "other"))
    config = (folder / "config.yaml").read_text()
    assert f"feature_id: {SMALL_PROJECTION}" in config
    (folder / "config.yaml").write_text(config.replace(f"feature_id: {SMALL_PROJECTION}", "feature_id: 8"))
    groups = groups_of([read_run(seeds / "seed-0"), read_run(folder)])
    reads = parse_policy(BEST).title()
    assert all(len(group.runs) == (1 if group.policy == reads else 2) for group in groups)
    assert reads in {group.policy for group in groups}


def test_what_evaluate_found_stands_beside_the_runs_own(run: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    assert call("evaluate", folder, "--policy", "prompt-id:batch5") == 0
    assert call("evaluate", folder, "--policy", "prompt-id:batch3", "--last") == 0
    found = [row["policy"] for row in rows_of(output(capsys, "compare", folder, "--csv"))]
    assert found[-1].startswith("oracle") and found[3].startswith("Prompt ID, same-task batch(5)")
    assert len(found) == 5, "one scored after the last task only has no Forget"
    content = read_json(folder / "rescored/prompt-id-batch5.json")
    content |= {"title": "Prompt ID, per-sample", "policy": "prompt-id"}
    (folder / "rescored/prompt-id-batch5.json").write_text(json.dumps(content))
    row = rows_of(output(capsys, "compare", folder, "--csv"))[0]
    assert float(row["acc"]) == pytest.approx(content["acc"], abs=1e-4), "a later result takes the earlier one's place"


def test_a_run_that_is_not_finished_says_so(run: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    unfinish(folder)
    (folder / "summary.json").unlink()
    rows = rows_of(output(capsys, "compare", folder, run, "--csv"))
    assert {row["settings"] for row in rows} == {"", "not finished, 2 tasks"}


def test_a_damaged_result_of_evaluate_is_refused(run: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    (folder / "rescored").mkdir()
    (folder / "rescored/x.json").write_text('{"accuracy": {"correct": []}}')
    assert "did not write" in refused(capsys, "compare", folder)


@pytest.mark.parametrize(("args", "told"), [((), "name the runs"), (("x", "--csv", "--markdown"), "give one of them")])
def test_wrong_words_are_refused(args: tuple[str, ...], told: str, capsys: Capture) -> None:
    assert told in refused(capsys, "compare", *args)


def test_a_value_that_a_run_lacks_is_no_mean() -> None:
    assert [over_seeds(values) for values in ((1.0, None), (), (2.0,), (-1.0, -3.0))] == ["–", "–", "2.0", "−2.0 ± 1.4"]
