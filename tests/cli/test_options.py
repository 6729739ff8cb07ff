"""Every option reaches the config and the run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import BACKBONE, DIGITS, LAYERS, MASKS, SMALL, TINY, call, output, read_json, results
from softtf.cli.command_line import command_of
from softtf.cli.options import OPTIONS, Predict
from softtf.cli.parse import options, parse
from softtf.config.tree import from_yaml, to_dict, to_yaml
from softtf.errors import UserError
from softtf.recipes.methods import title_of
from softtf.recipes.recipes import recipe_named
from softtf.runs.config import RunConfig
from support.slow import each

Capture = pytest.CaptureFixture[str]


CHANGED = {
    "seed": 1,
    "stream.num_tasks": 3,
    "stream.train_per_class": 5,
    "stream.test_per_class": 4,
    "stream.subset_seed": 7,
    "stream.class_order_seed": 1,
    "stream.blurry": 0.2,
    "backbone.name": "random:test_vit2",
    "backbone.image_size": 48,
    "backbone.normalise": "unit",
    "learner.g_layers": "1",
    "learner.g_length": 3,
    "learner.e_layers": "5-6",
    "learner.e_length": 4,
    "learner.key_weight": 0.5,
    "learner.key_scale": 0.7,
    "learner.freeze_g_after_first": True,
    "learner.adapt.layers": "6",
    "learner.adapt.targets": "w/ FF",
    "learner.adapt.init": "uniform(0.9,1)",
    "learner.storage": "float32",
    "train.epochs": 2,
    "train.batch_size": 7,
    "train.learning_rate": 0.01,
    "train.schedule": "cosine",
    "train.clip_norm": 0.01,
    "train.augment": True,
    "train.precision": "bfloat16",
    "train.optimizer": "sgd",
    "train.weight_decay": 0.5,
    "learner.classes": "seen",
    "train.first_task_learning_rate": 0.3,
    "train.first_task_weight_decay": 0.5,
    "train.warmup": 2,
    "evaluate.policies": ("prompt-id:batch5", "gradient-id:3-shot/5"),
}
OF_THE_COMMAND = {"seed"}  # `softtf run` itself takes it, as it takes several
SAME_RESULT = {  # these change where a run's data and files come from and how it is computed, not its numbers
    "stream.source": "other",
    "learner.feature_id": 8,  # felt under the policies that ask for it
    "learner.mcg": 2,
    "learner.gradient_offset": 9,
    "learner.gather": ("my-id=7",),
    "learner.sums": "one",
    "train.compile": True,
    "train.record": False,
    "train.clean_query": True,  # nothing is augmented here, so that all are clean
    "stream.task_column": "batch",
    "stream.split_train": "all",
    "stream.split_test": "check",
    "stream.image_column": "picture",
    "stream.label_column": "kind",
    "stream.datasets": ("one", "two", "three", "four", "five"),
    "stream.train_per_dataset": 160,
    "stream.test_per_dataset": 140,
    "stream.merge_labels": True,  # felt where tasks have labels in common
    "backbone.max_tokens": 64,
    "backbone.pooling": "mean",
    "backbone.weights": "mine.safetensors",
    "backbone.revision": "v1",
    "evaluate.shuffle": True,
    "evaluate.batch_size": 7,
    "evaluate.precision": "auto",
    "device": "cuda",
    "feature_cache": "off",
    "track": ("tensorboard",),
}


def as_flags(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        part, _, last = flag.rpartition(".")
        return [flag if value else f"{part}.no-{last}"]
    return [flag, *map(str, value if isinstance(value, tuple) else (value,))]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return leaves


def test_every_option_is_tried_below() -> None:
    known = {
        flag
        for flag in options(recipe_named("quickstart", "dual-prompt+soft-tf"))
        if not re.search(r"(^--|\.)no-", flag)
    }
    assert known == {as_flags(name, 1)[0] for name in (CHANGED | SAME_RESULT).keys() - OF_THE_COMMAND}


@pytest.mark.parametrize("name", [name for name in CHANGED | SAME_RESULT if name not in OF_THE_COMMAND])
def test_an_option_changes_its_setting_and_no_other(name: str) -> None:
    default = recipe_named("quickstart", "dual-prompt+soft-tf")
    changed = parse(RunConfig, as_flags(name, (CHANGED | SAME_RESULT)[name]), "test", default)
    before, after = flat(to_dict(default)), flat(to_dict(changed))
    assert {key for key in before if before[key] != after[key]} == {name}
    assert from_yaml(RunConfig, to_yaml(changed)) == changed


@pytest.mark.parametrize("spelling", ["--no-cache", "--no_cache"])
def test_no_cache_is_short_for_a_feature_cache_that_is_off(spelling: str) -> None:
    words = {"run": ["quickstart"], "learn": ["birds", "May"], "resume": ["a"], "evaluate": ["a"], "cache": []}
    having = [name for name, kind in OPTIONS.items() if "--feature-cache" in options(kind)]
    assert {*having, "run"} == words.keys()
    for name, others in words.items():
        found: Any = command_of([name, *others, spelling])
        assert getattr(found, "settings", found).feature_cache == "off", name
    for name, hint in (("compare", "did you mean --set feature_cache=off"), ("predict", "unknown option")):
        with pytest.raises(UserError, match=hint):
            command_of([name, "here", spelling])


@each("name", list(CHANGED), ("seed", "stream.num_tasks", "learner.adapt.layers", "train.epochs"))
def test_an_option_changes_the_run(name: str, run: Path) -> None:
    assert call(*TINY, *as_flags(name, CHANGED[name]), "--output", "new") == 0
    assert flat(yaml.safe_load(Path("new/config.yaml").read_text()))[name] not in (
        flat(yaml.safe_load((run / "config.yaml").read_text()))[name],
    )
    mine, theirs = results(Path("new")), results(run)
    if name in ("stream.test_per_class", "evaluate.policies"):
        assert mine["learner/task-002.safetensors"] == theirs["learner/task-002.safetensors"]
        assert mine["accuracy.json"] != theirs["accuracy.json"]
    else:
        assert mine["learner/task-002.safetensors"] != theirs["learner/task-002.safetensors"]


def test_the_size_of_evaluation_batches_changes_nothing(run: Path) -> None:
    assert call(*TINY, "--evaluate.batch-size", 7, "--output", "new") == 0
    assert results(Path("new")) == results(run)


@pytest.mark.slow
def test_shuffling_the_test_samples_spoils_pooled_evidence_only() -> None:
    policies = ("--evaluate.policies", "prompt-id", "prompt-id:batch3", "oracle", "--stream.test-per-class", 15)
    assert call(*TINY, *policies, "--output", "in-order") == 0
    assert call(*TINY, *policies, "--evaluate.shuffle", "--output", "shuffled") == 0
    ordered, shuffled = (read_json(Path(name, "accuracy.json")) for name in ("in-order", "shuffled"))
    for policy in ("prompt-id", "oracle"):
        assert ordered[policy] == shuffled[policy]
    assert ordered["prompt-id:batch3"] != shuffled["prompt-id:batch3"]
    summary = read_json(Path("shuffled/summary.json"))
    assert "shuffled" in summary["policies"]["prompt-id:batch3"]["title"]


@pytest.mark.parametrize("method", ["block-ridge", "dual-prompt+soft-tf", "der++"])
def test_a_method_runs(method: str, capsys: Capture) -> None:
    """One that is solved, one with parameters of each task, one that trains all weights; tests/net runs every one."""
    known = options(recipe_named("quickstart", method))
    layers = [part for i in (0, 2) if LAYERS[i] in known for part in LAYERS[i : i + 2]]
    layers += ["--learner.projection", "40"] if "--learner.projection" in known else []
    args = ("run", "quickstart", "--method", method, *BACKBONE, *layers, *SMALL, *DIGITS, "--output", "new")
    assert title_of(method) in " ".join(output(capsys, *args).split())  # a long one is wrapped
    assert output(capsys, "evaluate", "new", "--last").count("oracle (task given)") == 1


def test_gradient_projection_is_chosen_with_the_method_and_set_by_options() -> None:
    default = recipe_named("quickstart", "l2p+pgp")
    changed = parse(RunConfig, ["--learner.projection.eps", "0.9"], "test", default)
    before, after = flat(to_dict(default)), flat(to_dict(changed))
    assert {k: v for k, v in after.items() if before[k] != v} == {"learner.projection.eps": 0.9}
    assert from_yaml(RunConfig, to_yaml(changed)) == changed
    assert "--learner.projection.samples" in options(default)
    assert not [flag for flag in options(recipe_named("quickstart", "l2p")) if "projection" in flag]


def test_help_costs_nothing_and_names_every_setting(capsys: Capture) -> None:
    assert call() == 2
    assert "quickstart" in output(capsys, "--help")
    assert call("run", "--help") == 0
    assert call("run", "quickstart", *MASKS, "--help") == 0
    text = capsys.readouterr().out
    assert [name for name in CHANGED | SAME_RESULT if as_flags(name, 1)[0] not in text] == []
    assert list(Path().iterdir()) == []


def test_predict_reads_a_policy_under_its_name_in_softtf_0_1_too() -> None:
    for name in ("--policy", "--inference"):
        assert parse(Predict, ["run", name, "gradient-id"], "softtf predict").policy == "gradient-id"


def test_what_several_commands_take_is_spelled_alike() -> None:
    taken = {name: options(kind) for name, kind in OPTIONS.items()}
    for name in ("predict", "learn", "serve", "evaluate", "resume"):
        assert "--device" in taken[name], name
    for name in ("run", "table", "quickstart"):
        assert "--seed" in taken[name], name
