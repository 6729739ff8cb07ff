"""`softtf list`: the names that commands take.

Learners, adaptations and task inferences are read from the text of their modules, since importing these loads torch.
"""

from collections.abc import Callable
from typing import Any

from softtf.cli.options import List
from softtf.config.declared import declared
from softtf.config.names import BUNDLED, MINILM
from softtf.errors import unknown
from softtf.figures import FIGURES
from softtf.paper import TABLES
from softtf.recipes.methods import known_methods
from softtf.recipes.presets import RECIPES
from softtf.registry import own
from softtf.saying import say
from softtf.streams.registry import STREAMS
from softtf.tracking import TRACKERS

OFFLINE = {BUNDLED: "bundled, works offline", MINILM: "texts; works offline, needs softtf[text]"}
MORE = {"...": "hundreds more: softtf list backbones"}
LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "recipes": lambda: {name: recipe.description for name, recipe in RECIPES.items()},
    "methods": lambda: {name: method.title for name, method in known_methods().items()},
    "backbones": lambda: _backbones(),
    "adaptations": lambda: _kinds("adaptations", "adaptation"),
    "learners": lambda: _kinds("learners", "learner"),
    "streams": lambda: {name: info.description for name, info in STREAMS.items()} | _imported("data set"),
    "tables": lambda: {name: make().caption for name, make in TABLES.items()},
    "figures": lambda: {name: figure.title for name, figure in FIGURES.items()},
    "policies": lambda: {
        **_inferences(),
        "NAME:batch24": "evidence pooled over batches of 24 of one task's test set (the paper's m-batch)",
        "NAME:vote24": "each of 24 votes for its own best task, the majority answers (the paper's Prompt ID)",
        "NAME:3-shot": "the first 3 of each batch of 24 are the evidence (the paper's n-shot; 3-shot/16 for 16)",
        "NAME:...:own": "answer with a class of the inferred task; otherwise with any class seen so far",
        "NAME:...:joint": "P(c|x) = P(t|x) P(c|x,t) over the likely tasks; scores must be log P(t|x): feature-id, mcg",
    },
    "metrics": lambda: _metrics(),
    "trackers": lambda: {name: tracker.title for name, tracker in TRACKERS.items()},
}


def run(options: List) -> int:
    """Print the lists that the options name, or all."""
    for name in options.names:
        if name not in LISTS:
            raise unknown("list", name, LISTS)
    for name in options.names or LISTS:
        shortened = name == "backbones" and not options.names
        entries = OFFLINE | _imported("backbone") | MORE if shortened else LISTS[name]()
        say(f"{name}:")
        width = max(map(len, entries))
        for entry, text in entries.items():
            say(f"  {entry:<{width}}  {text}".rstrip())
    return 0


def _backbones() -> dict[str, str]:
    from softtf.backbones.load import backbone_names

    return {name: OFFLINE.get(name, "") for name in backbone_names()} | _imported("backbone")


def _imported(what: str) -> dict[str, str]:
    """Return what imported files have added to a registry, with the first line of each docstring."""
    return {name: _about(found) for name, found in own(what).items()}


def _about(found: Any) -> str:
    about = (found.__doc__ or "").strip().partition("\n")[0]
    return "" if about.startswith(f"{found.__name__}(") else about  # which a dataclass writes itself


def _kinds(package: str, family: str) -> dict[str, str]:
    """Return the kinds of a family, which a package's classes and imported ones register."""
    ours = {found["kind"]: found["about"] for found in declared(package) if "kind" in found}
    return ours | _imported(family)


def _inferences() -> dict[str, str]:
    """Return the task inferences, with the setting of the learner that each needs, if any."""
    ours = [found for found in declared("inference") if {"name", "title"} <= found.keys()]
    titles = {found["name"]: (found["title"], found.get("pools", True)) for found in ours}
    options = {
        found["name"]: f"--learner.{found['setting'].replace('_', '-')} {found['amount']}"
        for found in declared("statistics")
        if {"name", "setting"} <= found.keys()
    }
    titles |= {name: (kind.title, kind.pools) for name, kind in own("task inference").items()}
    options |= {name: kind.option() for name, kind in own("statistics").items()}
    needed = {name: f"; needs {option} when the run learns" for name, option in options.items()}
    return {
        name: f"{title}{', per-sample' if pools else ''}{needed.get(name, '')}"
        for name, (title, pools) in titles.items()
    }


def _metrics() -> dict[str, str]:
    from softtf.evaluation.metrics import METRICS

    return {name: metric.title for name, metric in METRICS.items()}
