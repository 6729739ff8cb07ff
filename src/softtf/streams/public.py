"""The public names of `softtf.streams`, which imports this module when the first of them is used."""

from softtf.streams.blurry import blurred
from softtf.streams.examples import Examples
from softtf.streams.forms import examples_from, unlabelled
from softtf.streams.identity import Identity, difference
from softtf.streams.images import ImagePreparation
from softtf.streams.loader import Loader
from softtf.streams.patterns import glob
from softtf.streams.preparation import Preparation
from softtf.streams.registry import STREAMS, StreamInfo
from softtf.streams.sets import HUB, load_sets
from softtf.streams.sources import SOURCES, load_source, local_path, located, source
from softtf.streams.splits import Say, quiet
from softtf.streams.stream import TaskStream, from_datasets, split_by_class, split_by_task
from softtf.streams.task import Task
from softtf.streams.texts import TextPreparation, join

__all__ = [
    "HUB",
    "SOURCES",
    "STREAMS",
    "Examples",
    "Identity",
    "ImagePreparation",
    "Loader",
    "Preparation",
    "Say",
    "StreamInfo",
    "Task",
    "TaskStream",
    "TextPreparation",
    "blurred",
    "difference",
    "examples_from",
    "from_datasets",
    "glob",
    "join",
    "load_sets",
    "load_source",
    "local_path",
    "located",
    "quiet",
    "source",
    "split_by_class",
    "split_by_task",
    "unlabelled",
]
