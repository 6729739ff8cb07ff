"""`python -m benchmarks.costs RECIPE METHOD [--source FOLDER]`: what a method costs, and how accurate it is.

All tasks are learned from nothing, tested once after the last, and saved. It prints one line of JSON: the settings that
were given; accuracy, share of tasks right and calibration error in percent under the method's usual policy; processor
seconds of one thread to learn and to test; and the bytes of the saved learner.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from softtf.backbones import load_backbone
from softtf.classifier import ContinualClassifier
from softtf.cli.settings import named_settings
from softtf.config.dotted import with_settings
from softtf.inference.policy import usual_policy
from softtf.recipes.recipes import recipe_named
from softtf.runs.config import RunConfig

READ = ("stream.", "backbone.", "learner.", "train.", "seed")


def cost(config: RunConfig) -> dict[str, Any]:
    """Return what a run's method costs on a CPU, and finds; statistics are those that its settings ask for."""
    stream, backbone = list(config.stream.build()), load_backbone(config.backbone)
    way = usual_policy(config.learner.new_learner(backbone, 0).policies)
    with tempfile.TemporaryDirectory() as folder:
        model = ContinualClassifier(
            backbone,
            config.learner,
            config.train,
            seed=config.seed,
            device="cpu",  # whose seconds these are
            repeated_classes="allow",
            inference=way,
            feature_cache=Path(folder) / "features",
        )
        start = time.process_time()
        for task in stream:
            model.learn(task.train, progress=False)
        learned = time.process_time()
        scores = model.evaluate([task.test for task in stream if task.test is not None], [way], progress=False)
        tested = time.process_time()
        model.save_pretrained(Path(folder) / "learner")
        size = sum(file.stat().st_size for file in (Path(folder) / "learner").iterdir())
    return {"scores": scores, "learn": round(learned - start), "test": round(tested - learned), "bytes": size}


def main(args: Sequence[str]) -> None:
    """Print the line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe")
    parser.add_argument("method")
    parser.add_argument("--source", help="the folder of the data, where the recipe needs one")
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="such as seed=1 train.epochs=20")
    given = parser.parse_args(args)
    torch.set_num_threads(1)
    settings = named_settings(given.set) | ({"stream.source": given.source} if given.source else {})
    if unread := [name for name in settings if not name.startswith(READ)]:
        parser.error(f"--set {unread[0]}: set what begins with {', '.join(READ)}")
    config = with_settings(recipe_named(given.recipe, given.method, given.scale), settings)
    about = {"recipe": given.recipe, "method": given.method, "set": given.set}
    print(json.dumps(about | cost(config)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
