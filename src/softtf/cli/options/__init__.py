"""What every command takes, as one tree of dataclasses; importing this loads no torch.

The module of the same name as a command has the function `run`, which does what its options ask for.
"""

from softtf.cli.options.command import Command, Many
from softtf.cli.options.learners import Learn, Learner, Predict, Serve
from softtf.cli.options.others import Cache, List
from softtf.cli.options.results import Compare, Figure, Report, Table
from softtf.cli.options.runs import Evaluate, OfRun, Quickstart, Resume, Run, Sweep

__all__ = [
    "Cache",
    "Command",
    "Compare",
    "Evaluate",
    "Figure",
    "Learn",
    "Learner",
    "List",
    "Many",
    "OPTIONS",
    "OfRun",
    "Predict",
    "Quickstart",
    "Report",
    "Resume",
    "Run",
    "Serve",
    "Sweep",
    "Table",
]

OPTIONS: dict[str, type[Command]] = {
    "quickstart": Quickstart,
    "run": Run,
    "resume": Resume,
    "sweep": Sweep,
    "predict": Predict,
    "learn": Learn,
    "serve": Serve,
    "evaluate": Evaluate,
    "learner": Learner,
    "report": Report,
    "compare": Compare,
    "table": Table,
    "figure": Figure,
    "cache": Cache,
    "list": List,
}
