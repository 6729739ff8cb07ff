"""A CLIP from a folder through the command line: a user's images, table 5, and what is said where there is no CLIP."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli import call, output, read_json, refused
from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.clip import ClipImage
from softtf.inference.policy import BEST
from softtf.recipes import known_methods
from softtf.streams.images import ImagePreparation
from support.clip_script import script
from support.slow import each
from support.tiny import MEAN, STD, tiny_clip_model

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]
NAMES = ("oak_tree", "red fox", "sea", "Übung")
SMALL = ("--train.epochs", "1", "--train.precision", "float32", "--device", "cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP of six layers as transformers saves one."""
    place = tmp_path_factory.mktemp("clip") / "tiny"
    tokenizer = script.tokenizer_of(place)
    tiny_clip_model(vocabulary=len(tokenizer), depth=6).save_pretrained(place)
    (place / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD, "size": 16}))
    return place


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four classes of images of noise around a colour, one folder each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for number, name in enumerate(NAMES):
            folder = tmp_path / "mine" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(60 * number, 60 * number + 50, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "mine"


@each("method", [method for method in known_methods() if method.startswith("clip")], ("clip-prompt+soft-tf",))
def test_own_images_with_a_clip_from_run_to_prediction(
    clip: Path, images: Path, method: str, capsys: Capture, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    where = ("--stream.source", images, "--stream.num-tasks", "2", "--backbone.name", clip, *SMALL)
    assert call("run", "own-images", "--method", method, *where, "--output", run) == 0
    policies = set(read_json(run / "summary.json")["policies"])
    by_task = {"prompt-id", "gradient-id", BEST, "oracle"}  # only masks make the answer depend on the task
    assert policies == (by_task if "soft-tf" in method else {"none", "oracle"})
    capsys.readouterr()
    lines = output(capsys, "predict", run, images / "test" / "sea", "--backbone", clip).splitlines()
    assert len(lines) == 3 and all(line.split("\t")[1] in NAMES for line in lines)
    assert "task given" in " ".join(output(capsys, "evaluate", run, "--last", "--backbone", clip).split())
    assert output(capsys, "report", run) and "data:image/jpeg" in (run / "report.html").read_text()


def test_table_5_on_a_clip_from_a_folder(clip: Path, capsys: Capture) -> None:
    where = ("table", "5", "--scale", "mini", "--source", "digits")
    few = ("stream.num_tasks=2", "stream.train_per_class=4", "stream.test_per_class=2", "train.epochs=1")
    shown = output(
        capsys,
        *where,
        "--format",
        "csv",
        "--rows",
        "1",
        "7",
        "10",
        "--set",
        f"backbone.name={clip}",
        "device=cpu",
        *few,
    )
    lines = list(csv.DictReader(shown.splitlines()))
    papers = [line["acc"] for line in lines if line["numbers"] == "paper"]  # without and with the task given
    assert papers == ["73.76", "92.69", "76.77", "95.29"]
    ours = [(line["method"].partition(",")[0], line["policy"]) for line in lines if line["numbers"] == "ours"]
    assert len(ours) == len(set(ours)) == 2 + 3 + 2
    assert "--set backbone.name=FOLDER" in refused(capsys, *where, "--rows", "1")


def test_a_method_of_texts_wants_a_clip(images: Path, capsys: Capture, tmp_path: Path) -> None:
    options = ("--stream.source", images, "--stream.num-tasks", "2", "--output", tmp_path / "run")
    line = refused(capsys, "run", "own-images", "--method", "clip-prompt", *options)
    assert "no text tower; give a CLIP" in line
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_too_long_is_refused_before_the_first_task(
    clip: Path, images: Path, capsys: Capture, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        (images / split / "sea").rename(images / split / ("x" * 60))
    options = ("--stream.source", images, "--stream.num-tasks", "2", "--backbone.name", clip, *SMALL)
    line = refused(capsys, "run", "own-images", "--method", "clip-prompt", *options, "--output", tmp_path / "run")
    assert "reads" in line and not (tmp_path / "run").exists()


def test_zero_shot_refuses_two_names_of_one_text(clip: Path, images: Path, capsys: Capture, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (images / split / "sea").rename(images / split / "oak tree")
    options = ("--stream.source", images, "--stream.num-tasks", "2", "--backbone.name", clip, *SMALL)
    line = refused(capsys, "run", "own-images", "--method", "clip-zero-shot", *options, "--output", tmp_path / "run")
    assert "'oak tree' and 'oak_tree' have the same text" in line


def test_a_folder_that_transformers_wrote_itself_is_read(clip: Path, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel

    own = tmp_path / "own"
    CLIPModel.from_pretrained(clip).save_pretrained(own)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (own / file).write_bytes((clip / file).read_bytes())
    wanted = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"shortest_edge": 18}}
    processor = CLIPImageProcessor(**wanted, crop_size={"height": 16, "width": 16}).to_dict()
    (own / "processor_config.json").write_text(json.dumps({"image_processor": processor, "processor_class": "CLIP"}))
    backbone = load_backbone(BackboneSpec(str(own)))
    assert isinstance(backbone, ClipImage)
    assert backbone.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert backbone.preparation == ImagePreparation(16, 18)
