"""Wrong words and values on the command line: one clear line, exit code 2, nothing left behind."""

from pathlib import Path

import pytest

from cli import MASKS, TINY, refused

Capture = pytest.CaptureFixture[str]

MISSPELT = [
    (("run", "quickstrt"), ["recipe", "'quickstrt'", "'quickstart'"]),
    (("run", "cifar100"), ["recipe", "'cifar100'", "cifar100-10"]),
    (("run", "quickstart", "--method", "dual-promt"), ["method", "'dual-promt'", "'dual-prompt'"]),
    (("run", "quickstart", "--scale", "mnii"), ["scale", "'mnii'", "'mini'"]),
    (("rnu", "quickstart"), ["command", "'rnu'", "'run'"]),
    (("list", "recipe"), ["list", "'recipe'", "'recipes'"]),
    (("quickstart", "--sed", "1"), ["'--sed'", "--seed"]),
    (("run", "quickstart", "--backbone.name", "x", "--scale", "huge"), ["--scale", "'huge'", "mini"]),
    (("run", "quickstart", "--train.epoch", "1"), ["'--train.epoch'", "--train.epochs"]),
    (("run", "quickstart", "--train.augmnt"), ["'--train.augmnt'", "--train.augment"]),
    ((*TINY, "--backbone.name", "vit_tiny_patch8_65"), ["backbone", "'vit_tiny_patch8_65'", "'vit_tiny_patch8_64'"]),
    ((*TINY, "--backbone.name", "random:vit_tinny_patch16_224"), ["backbone", "'vit_tiny_patch16_224'"]),
    ((*TINY, "--backbone.name", "swin_tiny_patch4_window7_224"), ["backbone", "not a plain Vision Transformer"]),
    ((*TINY, "--backbone.normalise", "imagenet"), ["'imagenet'", "backbone", "unit"]),
    ((*TINY, "--learner.adapt.targets", "qvk"), ["target", "'qvk'", "'qkv'"]),
    ((*TINY, "--learner.adapt.targets", "w/o fff"), ["target", "'w/o fff'", "'w/o ff'"]),
    ((*TINY, "--learner.adapt.targets", "query"), ["target", "'query'", "qkv, proj, fc1, fc2"]),
    ((*TINY, "--learner.adapt.init", "onse"), ["init", "'onse'", "'ones'"]),
    ((*TINY, "--evaluate.policies", "promt-id"), ["policy", "'promt-id'", "'prompt-id'"]),
    ((*TINY, "--evaluate.policies", "prompt-id:batch0"), ["'prompt-id:batch0'", "prompt-id:batch24"]),
    ((*TINY, "--evaluate.policies", "none"), ["'none'", "gradient-id"]),
    ((*TINY, "--train.schedule", "cosinus"), ["'cosinus'", "cosine"]),
    (("evaluate", "RUN", "--memory-limit", "much"), ["memory_limit", "2GB", "'much'"]),
    (("predict", "RUN", "IMAGE", "--memory", "0"), ["'--memory'", "did you mean --memory-limit"]),
    ((*TINY, "--train.precision", "float16"), ["'float16'", "bfloat16"]),
    ((*TINY, "--device", "gpu"), ["device", "'gpu'", "cuda"]),
    ((*TINY, "--device", "meta"), ["device", "'meta'"]),
    ((*TINY, "--stream.source", "digitz"), ["'digitz'", "'digits'"]),
    ((*TINY, "--stream.source", "no/such/folder"), ["no folder 'no/such/folder'"]),
]

OUT_OF_RANGE = {  # the message names the last part of the flag
    "--train.epochs": ["0", "1.5", "nan", "x"],
    "--train.batch-size": ["-3", "99999999999999999999"],
    "--learner.e-length": ["0", "1000000000000"],
    "--train.learning-rate": ["0", "nan", "inf", "1e400", "3e38", "x"],
    "--train.clip-norm": ["0"],
    "--evaluate.batch-size": ["0"],
    "--stream.num-tasks": ["0", "11"],
    "--stream.train-per-class": ["-1"],
    "--stream.test-per-class": ["0"],
    "--seed": ["1.5"],
    "--stream.subset-seed": ["x"],
    "--stream.class-order-seed": ["0.5"],
    "--learner.key-weight": ["-1"],
    "--learner.key-scale": ["0", "inf"],
    "--backbone.image-size": ["0", "33", "100000000"],
    "--learner.adapt.layers": ["0", "7", "5-x"],
    "--learner.g-layers": ["2-1"],
    "--learner.e-layers": ["1.5"],
}


@pytest.mark.parametrize(("args", "parts"), MISSPELT)
def test_misspelt_names_are_answered_with_the_nearest(args: tuple[str, ...], parts: list[str], capsys: Capture) -> None:
    message = refused(capsys, *args, *(["--output", "new"] if args[0] == "run" else []))
    assert [part for part in parts if part not in message] == []
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("flag", "value"), [(f, v) for f, values in OUT_OF_RANGE.items() for v in values])
def test_values_out_of_range_are_named(flag: str, value: str, capsys: Capture) -> None:
    message = refused(capsys, *TINY, flag, value, "--output", "new")
    words = flag.removeprefix("--").rpartition(".")[2].split("-")
    assert words[-1] in message.replace("_", " ").split("error:")[1]
    assert value in message or str(float(value)) in message
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--learner.adapt.kind", "sof-mask"], ["unknown adaptation 'sof-mask'", "did you mean 'soft-mask'"]),
        (["--learner.adapt.kind"], ["a kind is no option", "soft-mask", "learner: {adapt: {kind: KIND}}"]),
        (["--learner.adapt.kind=lora"], ["learner: {adapt: {kind: lora}} in a file for --config", "--method"]),
        (["--learner.kind", "ncm"], ["a kind is no option", "--method"]),
        (["--learner.adapt.rank", "4"], ["unknown setting 'rank' of adaptation 'soft-mask'", "adapter, lora;"]),
        (["--method", "ncm", "--learner.adapt.kind", "lora"], ["unknown setting 'adapt' of learner 'ncm'", "l2p"]),
        (["--learner.build", "4"], ["unknown option '--learner.build'"]),
        (["--no-cache", "--feature-cache", "here"], ["--no-cache keeps no features", "give one of the two"]),
        (["--learner.adapt.layrs", "4"], ["'--learner.adapt.layrs'; did you mean --learner.adapt.layers"]),
    ],
)
def test_options_that_would_change_a_kind_are_told_how(args: list[str], parts: list[str], capsys: Capture) -> None:
    message = refused(capsys, "run", "quickstart", *(() if "--method" in args else MASKS), *args, "--output", "new")
    assert [part for part in parts if part not in message] == []


def test_layer_13_of_12(capsys: Capture) -> None:
    message = refused(capsys, "run", "quickstart", *MASKS, "--learner.adapt.layers", "11-13", "--output", "new")
    assert "no layer 13" in message and "1 to 12" in message
    assert not Path("new").exists()


def test_the_nearest_image_sizes_that_fit_are_named(capsys: Capture) -> None:
    message = refused(capsys, "run", "quickstart", "--backbone.image-size", "60", "--output", "new")
    assert "60" in message and "8" in message and "56" in message and "64" in message
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--policy", "gradint-id"], ["'gradint-id'", "'gradient-id'"]),
        (["--task", "0"], ["no task 0", "1 to 2"]),
        (["--task", "3"], ["no task 3", "1 to 2"]),
        (["--task", "x"], ["--task must be an integer or None, not 'x'"]),
        (["--batch-size", "0"], ["batch_size", "0"]),
        (["--jsn"], ["'--jsn'", "--json"]),
        (["--device", "gpu"], ["'gpu'"]),
    ],
)
def test_wrong_options_of_predict(args: list[str], parts: list[str], run: Path, images: Path, capsys: Capture) -> None:
    message = refused(capsys, "predict", run, images / "test", *args)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--policy", "gradient-di"], ["policy", "'gradient-di'", "'gradient-id'"]),
        (["--policy", "none"], ["'none'", "gradient-id"]),
        (["--policies", "oracle"], ["'--policies'", "--policy"]),
        (["--precision", "flot32"], ["'flot32'", "float32"]),
        (["--batch-size", "0"], ["batch_size", "0"]),
    ],
)
def test_wrong_options_of_evaluate(args: list[str], parts: list[str], run: Path, capsys: Capture) -> None:
    message = refused(capsys, "evaluate", run, *args)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    "args",
    [
        ("run",),
        ("run", "--method"),
        ("run", "--config"),
        ("run", "quickstart", "--config", "x.yaml"),
        ("run", "quickstart", "--seed"),
        ("run", "quickstart", "extra"),
        ("resume",),
        ("resume", "a", "b"),
        ("resume", "a", "--last"),
        ("predict",),
        ("predict", "a"),
        ("evaluate",),
        ("evaluate", "a", "b"),
        ("quickstart", "--seed", "x"),
        ("quickstart", "extra"),
        ("list", "recipes", "nothing"),
    ],
)
def test_missing_and_superfluous_words(args: tuple[str, ...], capsys: Capture) -> None:
    refused(capsys, *args)
    assert list(Path().iterdir()) == []
