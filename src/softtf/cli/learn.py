"""`softtf learn`: teach a saved learner, or that of a finished run, one more task."""

from dataclasses import replace
from pathlib import Path

from softtf.classifier import ContinualClassifier
from softtf.cli.options import Learn
from softtf.cli.shipping import check_target
from softtf.errors import UserError
from softtf.runs.classifier import learner_folder
from softtf.runs.results import learned_accuracies
from softtf.saving.manifest import HEADER, holds_learner
from softtf.saving.versions import check_place
from softtf.saying import say
from softtf.streams.sources import read_source


def run(options: Learn) -> int:
    """Learn the data as one more task, with the learner's own settings, and save what comes of it."""
    folder = learner_folder(options.folder)
    is_run = folder != options.folder
    if not holds_learner(folder):
        raise UserError(f"{options.folder} is neither a learner nor a run: there is no {folder / HEADER}")
    check_target(options)
    if is_run and options.in_place:
        raise UserError(f"{options.folder} is a run, whose results are those of its learner; give --output FOLDER")
    target = folder if options.output is None else options.output
    check_place(target, options.in_place)
    train, test = read_source(
        options.data, image_column=options.input_column, label_column=options.label_column, say=say
    )
    model = ContinualClassifier.from_pretrained(
        folder,
        backbone=options.backbone,
        device=options.device,
        unfinished=is_run,
        repeated_classes="allow" if options.allow_repeated else None,
        feature_cache=options.feature_cache,
    )
    if is_run:
        _keep_accuracies(model, options.folder)
    name = options.name or Path(options.data).stem or options.data
    model.learn(train, name, test=test)
    model.save_pretrained(target, replace=options.in_place)
    known = f"{model.num_tasks} tasks, {len(model.labels)} classes"
    say(f"learned {name}: {len(train)} examples of {len(train.classes)} classes; {target}: {known}")
    if (record := model.classes.records[-1]).accuracy is not None:
        say(record.in_words())
    return 0


def _keep_accuracies(model: ContinualClassifier, run: Path) -> None:
    """Keep with each task what its run measured when it was learned."""
    records = model.classes.records
    for task, (accuracy, tested) in enumerate(learned_accuracies(run, model.num_tasks, model.inference.code)):
        records[task] = replace(records[task], accuracy=accuracy, tested=tested)
