"""Start a run, or open one that was stopped or finished."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from softtf.backbones.base import Backbone
from softtf.backbones.feature_store import open_store
from softtf.backbones.load import BackboneSpec, load_backbone, load_named, random_name
from softtf.classifier import ContinualClassifier
from softtf.config.tree import to_dict, to_yaml
from softtf.devices.device import environment, find_device, matmul_dtype
from softtf.devices.processes import check_alike, is_first, wait
from softtf.errors import OutOfMemoryError, TrainingError, UserError
from softtf.evaluation.scorer import Scorer
from softtf.evaluation.test_data import TestData
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.recipes.texts import own_file
from softtf.runs.config import EvaluateConfig, RunConfig
from softtf.runs.data import DATA, check_data, check_there, identities
from softtf.runs.folder import RunFolder
from softtf.runs.places import NO_PLACES, Places
from softtf.runs.settings import check_header, check_settings, write_settings
from softtf.runs.tracking import Tracking, check_trackers, open_trackers
from softtf.saving.header import Header
from softtf.saving.loading import load_learner
from softtf.saving.manifest import HEADER
from softtf.screen import Screen
from softtf.streams import Examples, TaskStream
from softtf.training.data import check_training


@dataclass
class Run:
    """A run in progress: everything that `softtf.runs.learn` works on.

    Of several processes, only the first writes the folder.

    tests, table: the test sets and the classes of all tasks. model: the classifier that learns. fresh: whether the
    folder is new, so that it is removed if nothing can be learned. kept: is called after each epoch and each task that
    the folder keeps.
    """

    config: RunConfig
    folder: RunFolder
    stream: TaskStream
    tests: list[Examples]
    table: ClassTable
    model: ContinualClassifier
    console: Screen
    fresh: bool = False
    kept: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.tracking = Tracking(self.folder, noting(self.console), {})

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Send what is logged meanwhile to the trackers that the settings name.

        Raises:
            UserError: one does not start.
        """
        trackers = open_trackers(self.config, self.folder) if is_first() else {}
        self.tracking = Tracking(self.folder, noting(self.console), trackers)
        try:
            yield
        finally:
            self.tracking.close()

    def log(self, event: str, **fields: Any) -> None:
        """Append a line to the log, and send its numbers to the trackers.

        Raises:
            UserError: it cannot be written.
        """
        if is_first():
            self.folder.log(event, **fields)
            self.tracking.event(event, fields)

    def scorer(self, settings: EvaluateConfig, again: bool = True) -> Scorer:
        """Return a scorer of the run's test sets; `again`: whether it is used more than once.

        Raises:
            UserError: the learner does not support a policy.
        """
        learner = self.model.learner
        policies, backbone = settings.policies_for(learner), learner.network.backbone
        data = TestData.of(self.tests, self.table, backbone, settings.batch_size, self.model.store, again)
        dtype = matmul_dtype(settings.precision, self.model.device)
        shuffle_seed = self.config.seed if settings.shuffle else None
        return Scorer(data, self.table.column_labels(), policies, settings.batch_size, dtype, shuffle_seed)


def start(config: RunConfig, path: Path, console: Screen) -> Run:
    """Check the settings with the data and the backbone, then make the run's folder: a wrong setting leaves no folder.

    Raises:
        UserError: the folder is in use, the data or the backbone cannot be read, or a setting does not fit them.
    """
    if is_first():
        RunFolder.check_free(path)
    run, header = prepare(config, path, console)
    data = identities(run.stream)
    check_alike("settings, data or backbones", lambda: [to_dict(run.config), data, header.backbone_sha256])
    if is_first():
        run.folder = RunFolder.create(path, run.config)
        run.fresh = True
        with leaving_no_empty_run(run):
            run.folder.write_json(DATA, data)
            write_settings(run.folder, run.config)
            run.folder.write_json("environment.json", environment(run.model.device))
            header.write(run.folder.learner)
    return run


def prepare(config: RunConfig, path: Path, console: Screen, stream: TaskStream | None = None) -> tuple[Run, Header]:
    """Load what a new run needs and check its settings with it; nothing is written.

    Args:
        config: the settings.
        path: the folder that the run will have.
        console: gets notes.
        stream: the data, if they are loaded already.

    Returns:
        the run, and what its learner's header says.

    Raises:
        UserError: the data or the backbone cannot be read, or a setting does not fit them.
    """
    check_trackers(config)
    device = find_device(config.device)
    config = config.located()
    stream = config.stream.build(noting(console)) if stream is None else stream
    if config.stream.is_dealt and own_file(config.recipe, config.stream.source) is None:  # of a file that is said
        classes = sum(len(task.classes) for task in stream)
        noting(console)(f"the {classes} classes are dealt to {len(stream)} tasks (--stream.num-tasks)")
    config = _knowing(config, stream)
    backbone = load_backbone(config.backbone, device)
    config = replace(config, backbone=backbone.spec or config.backbone)  # with the commit of the Hub that it is of
    learner = config.learner.new_learner(backbone, config.seed).to(device)
    config = replace(config, learner=config.learner.filled(learner))
    header = _header(config, backbone)
    check_training(config.train, config.learner, learner)
    table = ClassTable(header.allow_repeated)
    return _assemble(config, RunFolder(path), stream, header, learner, table, console), header


@contextmanager
def leaving_no_empty_run(run: Run) -> Iterator[None]:
    """On failure unlock a run, and remove a new folder unless the run can be resumed from it.

    So the same command works again. A run can be resumed from its last full epoch, unless its training failed for
    another reason than memory.
    """
    try:
        yield
    except BaseException as error:
        hopeless = isinstance(error, TrainingError) and not isinstance(error, OutOfMemoryError)
        going_on = run.folder.checkpoint.exists() and not hopeless
        if isinstance(error, Exception) and run.fresh and not going_on and not run.folder.learner_files():
            run.folder.discard()
        run.folder.unlock()
        raise


def reopen(
    path: Path,
    console: Screen,
    repair: bool = False,
    memory_limit: int | None = None,
    places: Places = NO_PLACES,
) -> Run:
    """Open a run at its last finished task; with `repair`, first remove or complete what a crash left in the folder.

    With `repair` the run is locked until `learn_stream` ends. Without it nothing is written, so a run in progress can
    be read.

    `memory_limit` is as for `load_learner`.

    Raises:
        UserError: there is no run, or its data are gone or others than those that it learned; with `repair`, another
            process works on it.
    """
    folder, config = RunFolder.open(path)
    check_settings(folder, config)
    if not repair:
        return _reopened(folder, config, console, False, memory_limit, places)
    if is_first():
        folder.lock()
    try:
        return _reopened(folder, config, console, True, memory_limit, places)
    except BaseException:
        folder.unlock()
        raise


def _reopened(
    folder: RunFolder, config: RunConfig, console: Screen, repair: bool, memory_limit: int | None, places: Places
) -> Run:
    path = folder.path
    nothing = UserError(f"nothing was learned yet: {path} has no finished task; go on with `softtf resume {path}`")
    config = places.in_place_of(config, noting(console))
    check_there(path, config.stream.given)
    stream = config.stream.build()
    config = _knowing(config, stream)
    device = find_device(config.device)

    def backbone_of(saved: BackboneSpec) -> Backbone:
        return load_named(saved, places.backbone, device)

    if repair and is_first():
        folder.sweep(noting(console))
        _complete(folder, config, backbone_of, device)
    elif not repair and not folder.learner_files():
        raise nothing
    wait()
    counted = folder.scores.counted()
    header, learner, classes = load_learner(folder.learner, backbone_of, strict=False, memory_limit=memory_limit)
    check_header(config, header, path)
    learned = [tuple(c) for c in classes.tasks]
    if repair:
        folder.scores.check(len(learned))
    else:
        folder.scores.check_nothing_lost(counted, len(learned))
        if not learned:  # the first task was being saved
            raise nothing
    check_data(folder, stream, config.stream.given, len(learned), noting(console))
    if learned != [task.classes for task in stream][: len(learned)]:
        raise UserError(f"{path} learned other classes than {config.stream.given!r} holds now; the data have changed")
    run = _assemble(config, folder, stream, replace(header, train=config.train), learner, classes, console)
    if repair:
        check_alike("settings, data or finished tasks", lambda: [to_dict(config), identities(stream), len(learned)])
        learner.check_alike()
    if repair and is_first():
        folder.write_json(DATA, identities(stream))
        if places.source is not None:
            folder.write_text("config.yaml", to_yaml(config))
    return run


def _complete(
    folder: RunFolder, config: RunConfig, backbone_of: Callable[[BackboneSpec], Backbone], device: torch.device
) -> None:
    """Write what a crash at the start of a run left out."""
    if not (folder.path / "environment.json").exists():
        folder.write_json("environment.json", environment(device))
    if not (folder.learner / HEADER).exists() and not folder.learner_files():
        _header(config, backbone_of(config.backbone)).write(folder.learner)


def _knowing(config: RunConfig, stream: TaskStream) -> RunConfig:
    """Return the config with the number of tasks, and what the method must know about them before the first."""
    learner = config.learner.for_stream(sum(len(task.classes) for task in stream))
    return replace(config, stream=replace(config.stream, num_tasks=len(stream)), learner=learner)


def _header(config: RunConfig, backbone: Backbone) -> Header:
    shared = config.stream.shares_labels
    return Header(config.backbone, backbone.weights_hash(), config.learner, config.seed, shared, train=config.train)


def _assemble(
    config: RunConfig,
    folder: RunFolder,
    stream: TaskStream,
    header: Header,
    learner: Learner,
    classes: ClassTable,
    console: Screen,
) -> Run:
    config.evaluate.policies_for(learner)
    table = ClassTable(header.allow_repeated)
    for task in stream:
        table.add(task.classes, task.name)
    config.learner.check_labels(table.labels, learner.network.backbone)
    tests = [task.test for task in stream if task.test is not None]
    if untested := [task.name for task in stream if task.test is None]:
        raise UserError(
            f"{config.stream.given!r} has no test data to score {untested[0]} on: no class has two examples, of"
            " which one could be held out; give each class at least two, or a test part"
        )
    store = open_store(config.feature_cache, header.backbone_sha256, noting(console))
    for text in config.stream.fewer_rows(stream):
        noting(console)(text)
    if random_name(config.backbone):
        console.print(f"note: the weights of {config.backbone.name} are random, as asked for; the numbers mean nothing")
    model = ContinualClassifier.of(header, learner, classes, store)
    return Run(config, folder, stream, tests, table, model, console)


def noting(console: Screen) -> Callable[[str], None]:
    """Return a function that prints a note."""
    return lambda text: console.print(f"note: {text}", soft_wrap=True)
