"""summary.json: the results of a finished run, sealed (`softtf.saving.manifest.seal`) and checked when read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.files.plain_json import NUMBER, fits, object_of, read_small
from softtf.runs.scores import RunScores
from softtf.runs.seconds import upgraded
from softtf.saving.manifest import unsealed

MAYBE = (None, *NUMBER)
SUMMARY = {
    "method": str,
    "parameters_per_task": int,
    "train_seconds_this_run": MAYBE,
    "train_seconds_from_nothing": NUMBER,
    "policies": {
        str: {
            "title": str,
            "acc": NUMBER,
            "forget": NUMBER,
            "task_identity": MAYBE,
            "test_seconds_this_run": MAYBE,
            "test_seconds_from_nothing": NUMBER,
        }
    },
}


def read_summary(file: Path, scores: RunScores) -> dict[str, Any]:
    """Return a summary with today's names (`upgraded`). Without a seal (softtf 0.1) its accuracies must fit the counts.

    Raises:
        UserError: it cannot be read, was changed, or has other accuracies than the counts.
    """
    data = read_small(file)
    content = object_of(data, file)
    remedy = f"remove it, and `softtf resume {file.parent}` writes it again"
    sealed = "sha256" in content  # softtf 0.1 wrote none
    if sealed:
        try:
            content = unsealed(data, file)
        except UserError as error:
            raise UserError(f"{error}; {remedy}") from None
    try:
        results = upgraded(content)
    except (TypeError, KeyError, AttributeError):
        results = {}
    if not fits(results, SUMMARY):
        raise UserError(f"{file} cannot be read: it does not hold what a finished run found")
    if not sealed and not agrees(results["policies"], scores):
        raise UserError(f"{file} names other accuracies than the counts in {scores.folder}; {remedy}")
    return results


def agrees(policies: Mapping[str, Mapping[str, Any]], scores: RunScores) -> bool:
    """Return whether a summary's accuracies are those of the counts, as far as there are counts."""
    tasks = scores.counted()
    counts = scores.matrices(tasks) if tasks else {}
    pairs = [(policies[code]["acc"], matrix.acc) for code, matrix in counts.items() if code in policies]
    return all(abs(named - found) < 1e-6 for named, found in pairs)
