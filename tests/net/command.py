"""`python scripts/net.py check` and `record`."""

import argparse
import contextlib
import io
import json
import os
import platform
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from net import worlds
from net.cases import FEATURE_ID, Case, cases
from net.compare import differences
from net.measure import Found, call, measure
from net.presets import presets
from softtf.learners import spec

STORED = Path(__file__).parent / "stored.json"
MAKERS = {"images": worlds.images, "clip": worlds.clip, "texts": worlds.texts}
PACKAGES = ("torch", "numpy", "timm", "transformers", "tokenizers", "scikit-learn", "pillow")


def command(args: list[str] | None = None) -> int:
    """Check or record; returns 1 if anything differs or fails."""
    parser = argparse.ArgumentParser(prog="python scripts/net.py")
    parser.add_argument("what", choices=["check", "record"])
    parser.add_argument("cases", nargs="*", help="such as `images ranpac` or `presets`; none means all")
    parser.add_argument("--file", type=Path, default=STORED)
    parser.add_argument("--keep", type=Path, help="a new folder for the runs")
    options = parser.parse_intermixed_args(args)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        found = everything((options.keep or Path(place)).absolute(), options.cases)
    print(f"{len(found['cases'])} cases in {time.process_time() - began:.0f} seconds of one core")
    if options.what == "record":
        return _record(options.file, found, options.cases)
    return _check(json.loads(options.file.read_text("utf-8")), found, options.cases)


def machine() -> dict[str, str]:
    """Return what the last bits of floating-point numbers depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    wanted = ("model name", "cpu family", "model", "flags")
    processor = dict(line.split("\t", 1) for line in reversed(lines) if line.split("\t")[0] in wanted)
    return {
        "processor": " ".join(processor.get(key, "").strip(" :\t") for key in wanted[:3]) or platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in PACKAGES},
    }


def everything(folder: Path, only: list[str]) -> Found:
    """Run every case, or those named, and return what is found of each; what fails is found too."""
    torch.set_num_threads(1)
    os.environ["SOFTTF_CACHE"] = str(folder / "features")
    os.fsync = lambda _: None  # nobody cuts the power
    methods = _methods()
    chosen = [case for case in cases(methods) if not only or case.name in only]
    if unknown := set(only) - {case.name for case in chosen} - {"presets"}:
        raise SystemExit(f"no case is called {', '.join(sorted(unknown))}")
    found: Found = {"machine": machine(), "presets": {}, "cases": {}}
    if not only or "presets" in only:
        found["presets"] = presets(methods)
    made = {}
    spec.PROJECTION = int(FEATURE_ID[1])  # in this process, which does nothing else
    for case in chosen:
        if case.world not in made:
            with contextlib.redirect_stderr(io.StringIO()):
                made[case.world] = MAKERS[case.world](folder / case.world)
        found["cases"][case.name] = _of(case, made[case.world], folder / case.name.replace(" ", "-"))
    return found


def _methods() -> list[str]:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        call("list", "methods")
    return [line.split()[0] for line in shown.getvalue().splitlines()[1:]]


def _of(case: Case, world: worlds.World, folder: Path) -> Found:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return measure(case, world, folder)
    except (Exception, SystemExit):
        last = [line for line in said.getvalue().splitlines() if line.startswith("softtf: error")]
        return {"failed": "\n".join([*last, traceback.format_exc()])}


def _record(file: Path, found: Found, only: list[str]) -> int:
    failed = {name: case["failed"] for name, case in found["cases"].items() if "failed" in case}
    for name, why in failed.items():
        print(f"{name} failed:\n{why}")
    if failed:
        return 1
    if only:
        stored = json.loads(file.read_text("utf-8"))
        if stored["machine"] != found["machine"]:
            print("on another machine, or with other libraries: record all cases")
            return 1
        cases = stored["cases"] | found["cases"]
        found = stored | {"presets": found["presets"] or stored["presets"], "cases": cases}
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"written to {file}")
    return 0


def _check(stored: Found, found: Found, only: list[str]) -> int:
    same = stored["machine"] == found["machine"]
    if not same:
        print("written down on another machine, or with other libraries: hashes and probabilities are not compared;")
        for name in stored["machine"]:
            then, now = stored["machine"][name], found["machine"].get(name)
            if then != now:
                print(f"  {name}: {then} then, {now} now")
    told: dict[str, list[str]] = {}
    for part in ("presets", "cases"):
        then: dict[str, Any] = stored[part]
        if only:
            then = {name: value for name, value in then.items() if name in found[part]}
        told |= differences(then, found[part], same)
    for name, lines in told.items():
        print(name)
        for line in lines:
            print(f"  {line}")
    print(f"{len(told)} of {len(found['cases']) + len(found['presets'])} differ" if told else "nothing differs")
    return bool(told)
