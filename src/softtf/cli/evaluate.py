"""`softtf evaluate`: score a finished learner under other policies."""

from softtf.cli.options import Evaluate
from softtf.cli.quickstart import POLICY_NOTE
from softtf.cli.results import heading
from softtf.devices.device import environment, find_device
from softtf.evaluation.report import render, render_matrix
from softtf.files.lock import holder
from softtf.learners.spans import span_of
from softtf.recipes.methods import title_of
from softtf.runs.config import EvaluateConfig
from softtf.runs.evaluate import rescore
from softtf.runs.folder import RunFolder
from softtf.runs.places import Places
from softtf.screen import Screen


def run(options: Evaluate) -> int:
    """Score a finished learner and add the results to its run's folder."""
    settings = EvaluateConfig(options.policy, options.shuffle, options.batch_size, options.precision)
    folder, config = RunFolder.open(options.folder)
    console = Screen()
    if who := holder(folder.path):
        note = f"note: {folder.path} is in use by {who}; the tasks that are finished are scored"
        console.print(note, soft_wrap=True)
    places = Places(options.source, options.backbone, options.feature_cache)
    results = rescore(folder.path, settings, console, options.last, options.masks, places)
    about = title_of(config.method), span_of(config.learner), folder.weights
    rows = [found.row(*about) for found in results]
    console.print(render(rows, heading(f"{config.recipe}: {folder.path}", config), POLICY_NOTE))
    for found in results if options.matrix else ():
        if found.matrix:
            title = f"{found.title}: accuracy on task (row) after learning task (column)"
            console.print(render_matrix(found.matrix, title))
    where = environment(find_device(config.device))
    saved = [found.save(folder, where).name for found in results]
    console.print(f"saved in {folder.path / 'rescored'}: {', '.join(saved)}", soft_wrap=True)
    return 0
