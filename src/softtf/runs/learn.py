"""Learn a run's stream task by task and score the learner after each (the paper's Algorithms 1 and 2)."""

import time

from softtf.devices.processes import count, is_first, told
from softtf.errors import UserError
from softtf.evaluation.scorer import Scorer
from softtf.learners.base import Learner
from softtf.runs.kept_epochs import KeptEpochs
from softtf.runs.predictions import way_of
from softtf.runs.results import measured_of, results_of, write_results
from softtf.runs.run import Run, leaving_no_empty_run, noting
from softtf.runs.view import RunView
from softtf.saving.card import write_card
from softtf.saving.learner import finish_saving, save_task
from softtf.saving.loading import as_after_each_task, load_learner
from softtf.training.progress import TaskProgress


def learn_stream(run: Run) -> None:
    """Learn every task that is not finished yet; after each, score all tasks so far.

    Raises:
        TrainingError: a loss was not finite. The folder keeps the tasks before; without any it is removed.
        UserError: the frozen backbone was changed (a bug in a method).
    """
    with leaving_no_empty_run(run):
        scorer, learner = run.scorer(run.config.evaluate), run.model.learner
        if count() > 1 and learner.trained_by_steps and not learner.divides_batches:
            noting(run.console)(
                f"each of the {count()} processes trains on whole batches, as this method's loss cannot be divided by"
                " rows; they divide frozen features and evaluation"
            )
        with run.tracked(), RunView(run) as view:
            _score_lost(run, scorer, view)
            for index in range(run.model.num_tasks, len(run.stream)):
                learn_task(run, index, view)
                score_task(run, run.model.learner, scorer, view)
                run.kept()
        if not run.model.frozen_backbone_unchanged:
            raise UserError("the frozen backbone's weights have changed during the run; its results are void")
        if is_first():
            _complete(run)
    run.folder.unlock()


def _complete(run: Run) -> None:
    """Write the results of a run whose tasks are all learned and scored."""
    finish_saving(run.folder.learner)
    matrices = run.folder.scores.matrices(len(run.stream))
    results = results_of(run.folder, run.stream, run.model.learner, run.config, matrices)
    write_card(run.folder.learner, run.model.card(measured_of(results)), noting(run.console))
    write_results(run.folder, matrices, results)


def learn_task(run: Run, index: int, view: RunView) -> None:
    """Learn one task (Algorithm 1), from its checkpoint if there is one, and save it."""
    task, shown = run.stream[index], TaskProgress(f"task {index + 1}/{len(run.stream)}", run.console)
    with view.learning(index):
        run.model.learn(task.train, task.name, progress=False, callbacks=(KeptEpochs(run, index), view, shown))
        if is_first():
            save_task(run.folder.learner, run.model.learner, run.model.classes, index)


def _score_lost(run: Run, scorer: Scorer, view: RunView) -> None:
    """Score the learner as it was after each finished task that has no scores."""
    lost = told([task for task in range(run.model.num_tasks) if not run.folder.scores.has(task)])
    if lost == [run.model.num_tasks - 1]:  # stopped before the newest was scored
        score_task(run, run.model.learner, scorer, view)
    elif lost:
        backbone = run.model.learner.network.backbone
        header, whole, _ = load_learner(run.folder.learner, lambda _: backbone, strict=False)
        for learner in as_after_each_task(run.folder.learner, header, whole):
            if learner.num_tasks - 1 in lost:
                score_task(run, learner, scorer, view)


def score_task(run: Run, learner: Learner, scorer: Scorer, view: RunView) -> None:
    """Score a learner on all its tasks, under every policy, in one pass over their test sets (Algorithm 2)."""
    index, began = learner.num_tasks - 1, time.perf_counter()
    with view.being_scored(index):
        scores = scorer.score(learner, f"after task {index + 1}", console=run.console)
    accuracies = {policy.code: round(score.acc, 4) for policy, score in scores.items()}
    seconds = {policy.code: score.seconds for policy, score in scores.items()}
    nothing = {policy.code: score.from_nothing for policy, score in scores.items()}
    wall = time.perf_counter() - began
    run.log("evaluation", task=index, accuracy=accuracies, seconds=seconds, from_nothing=nothing, wall=wall)
    if not is_first():
        return
    for policy, score in scores.items():
        if score.samples is not None:
            run.folder.predictions.save(way_of(policy.code, run.config.evaluate), index + 1, score.samples)
    run.folder.scores.save(index, scores)
    run.tracking.matrices(index + 1)
    view.after_task(index, accuracies)
