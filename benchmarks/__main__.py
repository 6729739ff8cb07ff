"""`python -m benchmarks`: the table of speed, memory and growth; see benchmarks/README.md."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import NoReturn

import torch

from benchmarks import (
    against,
    data,
    growth,
    inference,
    kernels,
    mixed,
    recipe,
    results,
    rows,
    serving,
    tasks,
    texts,
    training,
)
from benchmarks.results import Result, Row
from benchmarks.setup import CPU, Setup, setup_for
from benchmarks.timing import matrix_rate
from softtf.devices.device import environment, find_device
from softtf.errors import UserError, unknown

GROUPS: dict[str, Callable[[Setup], Iterator[Result]]] = {
    "training": training.measure,
    "recipe": recipe.measure,
    "inference": inference.measure,
    "mixed": mixed.measure,
    "growth": growth.measure,
    "data": data.measure,
    "kernels": kernels.measure,
    "texts": texts.measure,
    "rows": rows.measure,
    "serving": serving.measure,
    "tasks": tasks.measure,
}
ALONE = {
    "texts": "texts-minilm",
    "rows": "rows-of-a-task",
    "serving": "serving-bundled",
    "tasks": "tasks-simulated",
}  # cases that are measured once
CASES = {f"{group}-{backbone}": (group, backbone) for group in GROUPS if group not in ALONE for backbone in CPU}
CASES |= {case: (group, "bundled") for group, case in ALONE.items()}  # as many rounds as the bundled ViT gets
OPTIONS = ("--device", "--only", "--against", "--quick", "--output", "--help")


class Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UserError(message)


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options.

    Raises:
        UserError: an option, a case, a value or a checkout that does not exist.
    """
    parser = Parser(
        "python -m benchmarks",
        description="Speed, memory and growth, against a naive twin and the floor.",
        allow_abbrev=False,
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda; `cuda` measures the GPU part")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"cases or groups of cases: {', '.join([*GROUPS, *CASES])}",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="a checkout of the published code: measures both on a CPU",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the smallest sizes: shows that it works, measures nothing"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where benchmarks.md and benchmarks.json go")
    found, rest = parser.parse_known_args(argv)
    if rest:
        raise unknown("option", rest[0], OPTIONS)
    for name in found.only or ():
        if name not in GROUPS and name not in CASES:
            raise unknown("case", name, [*GROUPS, *CASES])
    if found.against is not None:
        if found.only is not None or found.device != "cpu":
            raise UserError("--against measures its own cases, on a CPU; leave out --only and --device")
        against.check(found.against)
    found.only = found.only or list(GROUPS)
    return found


def header(device: torch.device, quick: bool) -> list[str]:
    """Return where this is measured, a line each."""
    where = environment(device)
    rates = ", ".join(f"{str(t).removeprefix('torch.')} {matrix_rate(t, device) / 1e9:,.0f}" for t in RATED)
    versions = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    return [
        f"machine: {where['processor']}, {where['threads']} threads, {where['device']}, {where['system']}",
        f"commit {where['commit']}, Python {where['python']}, {versions}",
        f"matrix rate, 10^9 multiply-adds a second: {rates}",
        *["QUICK: the smallest sizes, one round; these numbers mean nothing"] * quick,
    ]


RATED = (torch.float32, torch.bfloat16)


def measure(device: torch.device, only: list[str], quick: bool, published: Path | None) -> Iterator[Result]:
    """Run the cases asked for, or those beside the published code; in a quick run nothing is held against a limit."""
    if published is not None:
        found = against.measure(setup_for("vit-b", device, quick), published)
    else:
        chosen = [case for name, case in CASES.items() if name in only or case[0] in only]
        found = chain.from_iterable(GROUPS[group](setup_for(backbone, device, quick)) for group, backbone in chosen)
    for result in found:
        yield result if isinstance(result, Row) or not quick else replace(result, at_least=None, at_most=None)


def main(argv: list[str]) -> int:
    """Measure; return 0, 2 after an error of one line (options, data, a file), 130 after Ctrl-C."""
    try:
        report(parse(argv))
    except (UserError, OSError) as error:
        print(f"benchmarks: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        return 130
    return 0


def report(options: argparse.Namespace) -> None:
    """Print the table as its rows arrive, and write it where `options` say."""
    device = find_device(options.device)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    about = header(device, options.quick)
    print("\n".join(f"- {text}" for text in about), "", results.head(), sep="\n", flush=True)
    found: list[Result] = []
    for result in measure(device, options.only, options.quick, options.against):
        found.append(result)
        if isinstance(result, Row):
            print(results.line(result.cells), flush=True)
    print("", *(f"- {result}" for result in found if not isinstance(result, Row)), sep="\n")
    if options.output:
        (options.output / "benchmarks.md").write_text(results.markdown(about, found), encoding="utf-8")
        entries = [{"kind": type(r).__name__.lower(), **asdict(r)} for r in found]
        text = json.dumps({"environment": environment(device), "header": about, "results": entries}, indent=1)
        (options.output / "benchmarks.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
