"""A run: learn a stream task by task and score the learner after each (the paper's Algorithms 1 and 2)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softtf.backbones.base import Backbone
from softtf.backbones.load import BackboneSpec, load_backbone, load_named, random_name
from softtf.learners.class_table import ClassTable
from softtf.config.dotted import first_difference
from softtf.config.tree import to_dict, to_yaml
from softtf.errors import OutOfMemoryError, TrainingError, UserError
from softtf.evaluation.metrics import summary
from softtf.evaluation.evaluate import TestData, evaluate
from softtf.evaluation.kept import KeptTrunks
from softtf.evaluation.report import Row, printed_of
from softtf.backbones.features import OFF, FeatureStore, FixedQueries, open_store
from softtf.training.data import begin_training, check_training, test_data, unread_settings
from softtf.inference.policy import Policy, parse_policy
from softtf.learners.knowledge import Knowledge
from softtf.learners.base import Learner
from softtf.learners.spans import span_of
from softtf.devices.device import environment, find_device, matmul_dtype
from softtf.saving.manifest import HEADER
from softtf.training.progress import ScoringProgress, TaskProgress
from softtf.recipes.methods import title_of
from softtf.runs.config import RunConfig
from softtf.runs.data import DATA, check_data, check_there, identities
from softtf.runs.folder import RunFolder
from softtf.saving.learner import Header, MaskPlace, finish_saving, load_learner, save_task
from softtf.screen import Screen
from softtf.runs.seconds import seconds_of
from softtf.streams import TaskStream
from softtf.runs.tracking import Tracker
from softtf.training.task import TaskTraining


@dataclass
class Run:
    """A run in progress: everything `learn_stream` works on.

    fresh: whether its folder was made just now; then it goes again if nothing can be learned.
    """

    config: RunConfig
    folder: RunFolder
    stream: TaskStream
    header: Header
    knowledge: Knowledge
    policies: list[Policy]
    tests: TestData
    store: FeatureStore | None
    console: Screen
    fresh: bool = False

    @property
    def learner(self) -> Learner:
        """The learner."""
        return self.knowledge.learner

    @property
    def classes(self) -> ClassTable:
        """The classes of all tasks learned."""
        return self.knowledge.finished.classes


@dataclass(frozen=True)
class Places:
    """Where the user says that a run's parts are; what its own folder says of that may come from anybody.

    source: its data, if they were moved; what the folder names is read otherwise. backbone: as for `load_named`.
    feature_cache: as in `RunConfig`; None is the user's own, whatever the folder names.
    """

    source: str | None = None
    backbone: str | BackboneSpec | None = None
    feature_cache: str | None = None

    def in_place_of(self, config: RunConfig, note: Callable[[str], None]) -> RunConfig:
        """Return a run's settings with these places; a folder for features that is not used is noted."""
        if self.source is not None:
            config = replace(config, stream=replace(config.stream, source=self.source).located())
        if config.feature_cache not in (None, OFF, self.feature_cache):
            note(f"the run's feature cache {config.feature_cache} is used only if you give it with --feature-cache")
        mine = OFF if config.feature_cache == OFF and self.feature_cache is None else self.feature_cache
        return replace(config, feature_cache=mine)


NO_PLACES = Places()


def start(config: RunConfig, path: Path, console: Screen) -> Run:
    """Check a config against data and backbone, then make the run's folder: a wrong setting leaves nothing behind."""
    RunFolder.check_free(path)
    device = find_device(config.device)
    config = replace(config, stream=config.stream.located(), backbone=config.backbone.located())
    stream = config.stream.build(_noting(console))
    data = identities(stream)
    config = _knowing(config, stream)
    backbone = load_backbone(config.backbone, device)
    config = replace(config, backbone=backbone.spec or config.backbone)  # with the commit of the Hub that it is of
    header = _header(config, backbone)
    learner = config.learner.new_learner(backbone, config.seed).to(device)
    classes = ClassTable(header.allow_repeated)
    run = _assemble(config, RunFolder(path), stream, header, learner, classes, console)
    run.folder = RunFolder.create(path, config)
    run.fresh = True
    with _leaving_no_empty_run(run):
        run.folder.write_json(DATA, data)
        run.folder.write_json("environment.json", environment(device))
        header.write(run.folder.learner)
    return run


@contextmanager
def _leaving_no_empty_run(run: Run) -> Iterator[None]:
    """On failure unlock a run, and remove a fresh one's folder if nothing in it is worth going on from.

    The same command then works. A last full epoch is, unless the training itself failed, but for lack of memory.
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
    masks: MaskPlace = "memory",
    places: Places = NO_PLACES,
) -> Run:
    """Open a run at its last finished task; with `repair`, first make good what a crash left undone in the folder.

    With `repair` the run is locked until `learn_stream` is done with it. Without, nothing is written, and a run that is
    going may be read.

    `masks` is as for `load_learner`.

    Raises:
        UserError: there is no run, or its data are gone or others than those that it learned; with `repair`, another
            process works on it.
    """
    folder, config = RunFolder.open(path)
    if not repair:
        return _reopened(folder, config, console, False, masks, places)
    folder.lock()
    try:
        return _reopened(folder, config, console, True, masks, places)
    except BaseException:
        folder.unlock()
        raise


def _reopened(
    folder: RunFolder, config: RunConfig, console: Screen, repair: bool, masks: MaskPlace, places: Places
) -> Run:
    path = folder.path
    config = places.in_place_of(config, _noting(console))
    check_there(path, config.stream.given)
    stream = config.stream.build()
    config = _knowing(config, stream)
    device = find_device(config.device)
    if repair:
        folder.sweep(_noting(console))
        if not (folder.path / "environment.json").exists():
            folder.write_json("environment.json", environment(device))
        if not (folder.learner / HEADER).exists() and not folder.learner_files():
            _header(config, load_named(config.backbone, places.backbone, device)).write(folder.learner)
    elif not folder.learner_files():
        raise UserError(f"nothing was learned yet: {path} has no finished task; go on with `softtf resume {path}`")
    counted = folder.scores.counted()
    header, learner, classes = load_learner(
        folder.learner, lambda saved: load_named(saved, places.backbone, device), strict=False, masks=masks
    )
    _check_settings(config, header, path)
    learned = [tuple(c) for c in classes.tasks]
    if repair:
        folder.scores.check(len(learned))
    else:
        folder.scores.check_nothing_lost(counted, len(learned))
    check_data(folder, stream, config.stream.given, len(learned), _noting(console))
    if learned != [task.classes for task in stream][: len(learned)]:
        raise UserError(f"{path} learned other classes than {config.stream.given!r} holds now; the data have changed")
    run = _assemble(config, folder, stream, header, learner, classes, console)
    if repair:
        folder.write_json(DATA, identities(stream))
        if places.source is not None:
            folder.write_text("config.yaml", to_yaml(config))
    return run


def _check_settings(config: RunConfig, header: Header, path: Path) -> None:
    """Refuse a run whose config.yaml has other settings than its learner was begun with.

    Raises:
        UserError: the first of them.
    """
    now, then = to_dict(config), to_dict(header)
    for field in ("seed", "backbone", "learner", "train"):
        if then[field] not in (None, now[field]):  # headers of softtf 0.1 may say nothing of training
            name, mine, its = first_difference(now[field], then[field], field)
            raise UserError(
                f"{path / 'config.yaml'} says {name}: {mine!r}, but the learner beside it was begun with {its!r}; a run"
                " keeps its settings: put the file back, or begin another run"
            )


def _knowing(config: RunConfig, stream: TaskStream) -> RunConfig:
    """Return the config with what the method must know of the stream beforehand."""
    return replace(config, learner=config.learner.for_stream(sum(len(task.classes) for task in stream)))


def _header(config: RunConfig, backbone: Backbone) -> Header:
    merged = config.stream.merge_labels
    return Header(config.backbone, backbone.weights_hash(), config.learner, config.seed, merged, train=config.train)


def _assemble(
    config: RunConfig,
    folder: RunFolder,
    stream: TaskStream,
    header: Header,
    learner: Learner,
    classes: ClassTable,
    console: Screen,
) -> Run:
    policies = config.evaluate.policies_for(learner)
    check_training(learner, config.train)
    table = ClassTable(header.allow_repeated)
    for task in stream:
        table.add(task.classes, task.name)
    config.learner.check_classes(len(table.column_labels()))
    config.learner.check_labels(table.labels, learner.network.backbone)
    held_out = []
    for task in stream:
        if task.test is None:
            raise UserError(
                f"{config.stream.given!r} has no test data to score {task.name} on: no class has two examples, of"
                " which one could be held out; give each class at least two, or a test part"
            )
        held_out.append(task.test)
    store = open_store(config.feature_cache, header.backbone_sha256, _noting(console))
    tests = test_data(held_out, table, learner, config.evaluate.batch_size)
    queries = FixedQueries(learner.network.backbone, tests.loader, store)
    tests = replace(tests, queries=queries, trunks=KeptTrunks())
    if unread := unread_settings(learner, config.train):
        _noting(console)(unread)
    for text in config.stream.fewer_rows(stream):
        _noting(console)(text)
    if random_name(config.backbone):
        console.print(f"note: the weights of {config.backbone.name} are random, as asked for; the numbers mean nothing")
    return Run(config, folder, stream, header, Knowledge(learner, classes), policies, tests, store, console)


def _noting(console: Screen) -> Callable[[str], None]:
    return lambda text: console.print(f"note: {text}", soft_wrap=True)


def learn_stream(run: Run) -> None:
    """Learn every task that is not finished yet, scoring all tasks so far after each one.

    Raises:
        TrainingError: a loss was not finite; the folder keeps the tasks before, and with none of them is removed.
        UserError: the frozen backbone was changed (a bug in a method).
    """
    with _leaving_no_empty_run(run):
        _learn_stream(run)
    run.folder.unlock()


def _learn_stream(run: Run) -> None:
    finished = len(run.classes.tasks)
    tracker = Tracker(run.folder.path, run.config.tensorboard)
    for task in run.stream:
        if task.index >= finished:
            learn_task(run, task.index, tracker)
        if task.index >= finished or not run.folder.scores.has(task.index):
            score_task(_as_after(run, task.index), task.index, tracker)
    if run.learner.network.backbone.weights_hash() != run.header.backbone_sha256:
        raise UserError("the frozen backbone's weights have changed during the run; its results are void")
    finish_saving(run.folder.learner)
    write_results(run.folder, run.stream, run.learner, run.config)


def _as_after(run: Run, index: int) -> Run:
    """Return the run with its learner as it was after a task: later ones are learned where a file of scores was lost."""
    if index == len(run.classes.tasks) - 1:
        return run
    backbone = run.learner.network.backbone
    _, learner, classes = load_learner(run.folder.learner, lambda _: backbone, index + 1, strict=False)
    return replace(run, knowledge=Knowledge(learner, classes))


def learn_task(run: Run, index: int, tracker: Tracker) -> None:
    """Algorithm 1 for one task: train its slots, epoch by epoch, with a checkpoint after each."""
    task = run.stream[index]

    def learn(classes: ClassTable) -> None:
        training = begin_training(run.learner, classes, task.train, task.name, run.config.train, run.store)
        _go_on(run, training, index)
        run.folder.forget_events_after(index, training.epoch)
        name = f"task {index + 1}/{len(run.stream)}"
        with TaskProgress(training, name, console=run.console) as progress:
            while not training.finished:
                report = training.run_epoch(progress.step)
                progress.epoch(report)
                fields = {"losses": report.losses, "samples": report.samples}
                seconds = {"seconds": report.seconds, "kept": report.kept}
                run.folder.log("epoch", task=index, epoch=report.epoch, **fields, **seconds)
                run.folder.save_checkpoint(index, training.state())
                tracker.epoch(report)
            passed, kept = training.finish()
            run.folder.log("consolidation", task=index, seconds=passed, kept=kept)

    run.knowledge.next_task(learn)
    save_task(run.folder.learner, run.learner, run.classes, index)


def _go_on(run: Run, training: TaskTraining, index: int) -> None:
    """Go back to the unfinished task's last state; one that is damaged or another's costs its epochs, and is said."""
    try:
        if (state := run.folder.load_checkpoint(index)) is not None:
            training.load_state(state)
    except UserError as error:
        _noting(run.console)(f"{error}; task {index + 1} starts again from its first epoch")


def score_task(run: Run, index: int, tracker: Tracker) -> None:
    """Algorithm 2 for all tasks so far, under every policy, in one pass over their test sets."""
    settings = run.config.evaluate
    began = time.perf_counter()
    with ScoringProgress(f"after task {index + 1}", console=run.console) as progress:
        scores = evaluate(
            run.learner,
            run.tests,
            run.classes.column_labels(),
            run.policies,
            batch_size=settings.batch_size,
            dtype=matmul_dtype(settings.precision, next(run.learner.parameters()).device),
            shuffle_seed=run.config.seed if settings.shuffle else None,
            on_progress=progress.told,
        )
    accuracies = {policy.code: round(score.acc, 4) for policy, score in scores.items()}
    seconds = {policy.code: score.seconds for policy, score in scores.items()}
    nothing = {policy.code: score.from_nothing for policy, score in scores.items()}
    wall = time.perf_counter() - began
    run.folder.log("evaluation", task=index, accuracy=accuracies, seconds=seconds, from_nothing=nothing, wall=wall)
    run.folder.scores.save(index, scores)
    tracker.scores(index, accuracies)
    if run.console.is_terminal or index + 1 == len(run.stream):
        listed = ", ".join(f"{code} {acc:.1f}" for code, acc in accuracies.items())
        run.console.print(f"after task {index + 1}: ACC {listed}")


def write_results(folder: RunFolder, stream: TaskStream, learner: Learner, config: RunConfig) -> None:
    """Write the matrices and the summary of a finished run."""
    tasks = len(stream)
    matrices = folder.scores.matrices(tasks)
    for code, matrix in matrices.items():
        folder.save_matrix(code, matrix)
    folder.write_json("accuracy.json", {code: matrix.to_dict() for code, matrix in matrices.items()})
    seconds = seconds_of(folder.logged())
    last = learner.num_tasks - 1
    own = sum(slots.num_parameters(last) for slots in learner.slot_modules().values())
    shared = sum(p.numel() for _, p in learner.shared_parameters() if p.requires_grad)
    results = {
        "recipe": config.recipe,
        "method": config.method,
        "classes": span_of(config.learner),
        "seed": config.seed,
        "weights": folder.weights,
        "weights_sha256": Header.read(folder.learner).backbone_sha256,
        "fewer_rows": config.stream.fewer_rows(stream),
        "parameters_per_task": own + shared,
        "bytes_per_task": (folder.learner / f"task-{tasks:03d}.safetensors").stat().st_size,
        "train_seconds_this_run": seconds.train,
        "train_seconds_from_nothing": seconds.train_from_nothing,
        "evaluation_seconds": seconds.evaluation,
        "policies": {
            code: {
                "title": parse_policy(code).title(config.evaluate.shuffle),
                **summary(matrix),
                "test_seconds_this_run": seconds.test.get(code, 0.0),
                "test_seconds_from_nothing": seconds.test_from_nothing.get(code, 0.0),
            }
            for code, matrix in matrices.items()
        },
    }
    folder.write_json("summary.json", results)


def result_rows(results: dict[str, Any], config: RunConfig) -> list[Row]:
    """Return the rows of a finished run's summary, one per policy; `config` says what its loss is over."""
    title = title_of(results["method"])
    return [
        Row(
            title,
            policy["title"],
            span_of(config.learner),
            policy["acc"],
            policy["forget"],
            policy["task_identity"],
            results["parameters_per_task"],
            results["train_seconds_this_run"],
            results["train_seconds_from_nothing"],
            policy["test_seconds_this_run"],
            policy["test_seconds_from_nothing"],
            weights=results["weights"],
            others=printed_of(policy),
        )
        for policy in results["policies"].values()
    ]
