"""`softtf evaluate`: score a finished learner under other policies."""

from softtf.cli.options import Evaluate
from softtf.cli.options.command import flag
from softtf.cli.quickstart import POLICY_NOTE
from softtf.cli.results import heading
from softtf.devices.device import environment, find_device
from softtf.errors import UserError
from softtf.evaluation.report import render, render_matrix
from softtf.files.lock import holder
from softtf.learners.spans import span_of
from softtf.recipes.methods import title_of
from softtf.runs.config import EvaluateConfig
from softtf.runs.evaluate import rescore
from softtf.runs.folder import RunFolder
from softtf.runs.places import Places
from softtf.runs.unknown import save_unknown, score_unknown
from softtf.saving.memory_limit import bytes_of
from softtf.screen import Screen

OF_POLICIES = ("policy", "shuffle", "last", "matrix", "batch_size", "precision")


def run(options: Evaluate) -> int:
    """Score a finished learner and add the results to its run's folder."""
    given = options.given()
    if options.unknown and (unread := [name for name in given if name in OF_POLICIES]):
        raise UserError(f"--unknown scores no policy, so {flag(unread[0])} does not go with it")
    if not options.unknown and "false_rejection" in given:
        raise UserError("--false-rejection goes with --unknown")
    settings = EvaluateConfig(options.policy, options.shuffle, options.batch_size, options.precision)
    most = bytes_of(options.memory_limit)
    folder, config = RunFolder.open(options.folder)
    console = Screen()
    if who := holder(folder.path):
        note = f"note: {folder.path} is in use by {who}; the tasks that are finished are scored"
        console.print(note, soft_wrap=True)
    places = Places(options.source, options.backbone, options.feature_cache, options.device)
    if options.unknown:
        return _unknown(options, folder, console, most, places)
    results = rescore(folder.path, settings, console, options.last, most, places)
    about = title_of(config.method), span_of(config.learner), folder.weights
    rows = [found.row(*about) for found in results]
    console.print(render(rows, heading(f"{config.recipe}: {folder.path}", config), POLICY_NOTE))
    for found in results if options.matrix else ():
        if found.matrix:
            title = f"{found.title}: accuracy on task (row) after learning task (column)"
            console.print(render_matrix(found.matrix, title))
    where = environment(find_device(options.device or config.device))
    saved = [found.save(folder, where).name for found in results]
    console.print(f"saved in {folder.path / 'rescored'}: {', '.join(saved)}", soft_wrap=True)
    return 0


def _unknown(options: Evaluate, folder: RunFolder, console: Screen, most: int | None, places: Places) -> int:
    """Measure how well the run's learner tells unknown inputs, and add that to its folder."""
    scores = score_unknown(folder.path, options.false_rejection, console, most, places)
    rate = f"{100 * options.false_rejection:g} %"
    for score in scores:
        console.print(
            f"after task {score.tasks}: AUROC {score.auroc:.1f}; to reject {rate} of known inputs was asked:"
            f" {score.known_rejected:.1f} % are, and {score.unknown_rejected:.1f} % of unknown ones",
            soft_wrap=True,
        )
    console.print(f"saved in {save_unknown(folder, options.false_rejection, scores)}", soft_wrap=True)
    return 0
