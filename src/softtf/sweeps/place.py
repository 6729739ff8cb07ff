"""The folder of a run, named after its settings: FOLDER/<data>-<tasks>-<method>-<hash>/seed-<n>.

So a run is done once, whichever table or sweep with this folder asks for it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from softtf.config.tree import to_dict
from softtf.learners.earlier import in_earlier_words
from softtf.runs.config import ELSEWHERE, RunConfig

# Settings that came later: where they are as before, runs of earlier versions are found.
LATER = {
    "stream": ("datasets", "train_per_dataset", "test_per_dataset", "merge_labels", "blurry"),
    "backbone": ("max_tokens", "pooling", "revision"),
    "learner": (
        *("key_eps", "text_prompts", "before_norm", "classes", "total_classes", "gradient_offset", "gather", "sums"),
    ),
    "learner.projection": ("spectrum",),
    "train": ("weight_decay", "first_task_learning_rate", "first_task_weight_decay", "warmup", "compile", "record"),
}
NOT_LATER = ("ft", "ewc")  # learners that had the others from the start


def place(folder: Path, config: RunConfig) -> Path:
    """Return the folder of a run."""
    plain = {name: value for name, value in to_dict(config).items() if name not in ELSEWHERE}
    plain["learner"] = in_earlier_words(plain["learner"])
    amount = plain["learner"]["feature_id"]  # its default was 0 then
    plain["learner"]["feature_id"] = {None: 0, 0: "none"}.get(amount, amount)
    plain["evaluate"]["batch_size"] = 120  # the default when names were first made; it changes no answer of a sample
    for part, names in LATER.items():
        spec: Any = config
        settings: Any = plain
        for step in part.split("."):
            spec, settings = getattr(spec, step, None), settings.get(step)
        if getattr(spec, "kind", None) in NOT_LATER:
            names = tuple(name for name in names if name in ("gather", "sums"))
        before = to_dict(type(spec)()) if hasattr(spec, "__dataclass_fields__") else {}
        for name in (n for n in names if n in before and settings[n] == before[n]):
            del settings[name]
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
    data = Path(config.stream.given).name
    return folder / f"{data}-{config.stream.num_tasks or 'all'}-{config.method}-{digest}" / f"seed-{config.seed}"


def at(url: str | None, path: Path) -> str | None:
    """Return the URL of a run's copy, from that of all runs; None without one."""
    return url and f"{url.rstrip('/')}/{path.parent.name}/{path.name}"
