"""`python -m benchmarks.collect RUN...`: one Markdown table of finished runs, mean and deviation over seeds.

What `softtf evaluate` found later is in it too; under a policy that the run scored itself it takes that one's place.
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from softtf.evaluation.report import parameters
from softtf.learners.spans import span_of
from softtf.recipes.methods import title_of
from softtf.runs.folder import RunFolder

METRICS = ("acc", "forget", "task_identity", "average_incremental", "bwt", "pooled")


def main(paths: list[str]) -> None:
    found: dict[tuple[str, str, str, str], list[dict[str, float]]] = defaultdict(list)
    for path in paths:
        folder, config = RunFolder.open(Path(path))
        summary = folder.summary()
        again = [later for later in folder.rescored() if later["accuracy"]]
        policies = {policy["title"]: policy for policy in (*summary["policies"].values(), *again)}
        for policy in policies.values():
            extra = {"parameters": summary["parameters_per_task"], "train": summary["train_seconds_from_nothing"]}
            key = title_of(summary["method"]), policy["title"], span_of(config.learner), summary["weights"]
            found[key].append({**policy, **extra})
    headers = ("method", "task inference (policy)", "loss over", "ACC", "Forget", "task right", "average", "BWT")
    print(f"| {' | '.join([*headers, 'pooled', 'params', 'weights'])} |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for (method, policy, span, weights), rows in found.items():
        cells = [_over_seeds([row[metric] for row in rows]) for metric in METRICS]
        cells.append(parameters(int(rows[0]["parameters"])))
        print(f"| {' | '.join([method, policy, span, *cells, weights])} |")


def _over_seeds(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    main(sys.argv[1:])
