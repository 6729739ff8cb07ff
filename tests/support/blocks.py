"""The code blocks of README and docs, and the small world that they take for granted: runs, learners, data."""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cli import call, image_folder
from net import worlds
from softtf import BackboneSpec, ContinualClassifier
from softtf.learners import NCM, BlockRidge
from softtf.learners.spec import LearnerSpec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.py"))
BLOCK = re.compile(r"(?:<!-- not run: ([^>]+) -->\s*)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MEANINGS = {"METHOD": "ncm", "SEED": "0", "RUN_FOLDERS": "runs/X"}
"""Words of a command that stand for others."""
RUN = (
    *("run", "quickstart", "--stream.num-tasks", "3", "--stream.train-per-class", "3", "--stream.test-per-class", "2"),
    *("--backbone.name", "random:vit_tiny_patch16_224", "--backbone.image-size", "32", "--device", "cpu"),
)
TRAINED = (
    *("--train.epochs", "1", "--train.precision", "float32", "--train.batch-size", "8"),
    *("--policy", "prompt-id", "oracle"),
)
RUNS = {
    "Y": ("--method", "ncm"),
    "A": ("--method", "dual-prompt+soft-tf", *TRAINED),
    "B": ("--method", "dual-prompt", "--learner.e-layers", "10-12", *TRAINED),
    "W1": ("--method", "dual-prompt+wsn", *TRAINED),
    "S1": ("--method", "dual-prompt+softnet", *TRAINED),
}
MONTHS = {"January": ("wren", "robin"), "February": ("finch", "crane"), "March": ("stork",), "May": ("heron", "swift")}
JUNE = {"June": ("owl", "rook")}


@dataclass(frozen=True)
class Block:
    """A code block: where it is, its language, its text, and why it cannot be run, if its page says so."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """The words of each line of a block of the shell; [brackets] and what follows `>` are left out."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = [MEANINGS.get(word, word).strip("[]") for word in shlex.split(line, comments=True)]
            if words:
                yield words[: words.index(">")] if ">" in words else words


def blocks(page: Path) -> list[Block]:
    """The blocks of a page; those of a tutorial stand in its comments, and its cells are run as a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        text = re.sub("^# ?", "", text, flags=re.MULTILINE)
    return [Block(page, text[: m.start(2)].count("\n") + 1, m[2], m[3], m[1]) for m in BLOCK.finditer(text)]


def build_world(folder: Path) -> Path:
    """Make everything that a block names, in its working directory."""
    image_folder(folder / "FOLDER")
    photos = sorted((folder / "FOLDER/test").rglob("*.png"))
    for name in ("folder", "photos"):
        shutil.copytree(photos[0].parent, folder / name)
    for name in ("grey heron", "swift"):
        shutil.copytree(photos[0].parent, folder / "more-birds" / name)
    for name in ("image.png", "img1.png", "photo1.jpg", "photo2.jpg", "wren.jpg"):
        Image.open(photos[0]).save(folder / name)
    rows = "\n".join(f"{photo.relative_to(folder)},{photo.parent.name}" for photo in photos)
    (folder / "photos.csv").write_text(f"image,label\n{rows}\n")
    texts = [(f"the {word} was {i}", word, f"month {n % 2}") for n, word in enumerate("abcd") for i in range(6)]
    (folder / "my-texts.csv").write_text("text,label,task\n" + "\n".join(map(",".join, texts)) + "\n")
    (folder / "more.txt").write_text("a line\nanother\n")
    for file in (ROOT / "docs/extend").glob("my_*.py"):
        shutil.copy(file, folder)
    shutil.copytree(ROOT / "docs/extend", folder / "docs/extend")
    _learners(folder)
    _runs(folder)
    return folder


def pictures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def months(
    names: dict[str, tuple[str, ...]], backbone: str = "random:test_vit", learner: LearnerSpec | None = None
) -> ContinualClassifier:
    """A classifier that learned birds month by month."""
    model = ContinualClassifier(BackboneSpec(backbone, image_size=32), learner or NCM(), device="cpu")
    for seed, (name, classes) in enumerate(names.items()):
        model.learn((pictures(seed, 3 * len(classes)), [*classes] * 3), name, progress=False)
    return model


def _learners(folder: Path) -> None:
    for last in range(1, len(MONTHS) + 1):  # with earlier versions
        learned = months(dict([*MONTHS.items()][:last]))
        learned.save_pretrained(folder / "birds", replace=last > 1, keep_versions=3)
    months(MONTHS, learner=BlockRidge(60, views=1)).save_pretrained(folder / "telling-birds")
    months(JUNE).save_pretrained(folder / "colleagues-birds")
    months(MONTHS, str(worlds.vit(folder / "models/my-vit"))).save_pretrained(folder / "DIR")


def _runs(folder: Path) -> None:
    for name, options in RUNS.items():
        assert call(*RUN, *options, "--output", folder / "runs" / name) == 0
    encoder = ("--backbone", "minilm-l6-v2", "--backbone.max-tokens", 9, "--device", "cpu")
    assert call("run", folder / "my-texts.csv", "--method", "ncm", *encoder, "--output", folder / "runs/T") == 0
    copies = {"X": "A", "Z": "Y", "tables/digits-3-ncm/seed-0": "Y", "sweeps/sweep/digits-3-ncm/seed-0": "Y"}
    for name, same in copies.items():
        shutil.copytree(folder / "runs" / same, folder / "runs" / name)
