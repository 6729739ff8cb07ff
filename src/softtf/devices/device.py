"""The device and the type to compute in, and a description of the machine."""

import platform
import subprocess  # nosec B404 # for git, below
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from softtf.devices import processes
from softtf.errors import UserError, unknown

Precision = Literal["auto", "bfloat16", "float32"]
PACKAGES = ("softtf", "torch", "timm", "torchvision", "datasets", "accelerate", "safetensors", "numpy")


def find_device(name: str = "auto") -> torch.device:
    """Return the device `name`: `cpu`, `cuda`, `cuda:1`, `mps` ..., or `auto`, the machine's accelerator if it has one.

    For one of several processes of a run, `auto` is the process's own device.

    Raises:
        UserError: this machine has no such device.
    """
    try:
        device = torch.device(processes.device() or _accelerator() if name == "auto" else name)
        if device.type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError
    except (RuntimeError, TypeError):
        raise UserError(f"device {name!r} is unknown; write auto, cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name!r} is not on this machine ({torch.cuda.device_count()} CUDA devices)")
    missing = {"mps": not torch.backends.mps.is_available(), "xpu": not torch.xpu.is_available()}
    if missing.get(device.type):
        raise UserError(f"device {name!r} is not on this machine")
    return torch.device(device)


def moved(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Return a tensor on a device; what goes to a GPU is copied while this process goes on."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _accelerator() -> str:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found else "cpu"


def matmul_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of matrix products; `auto` is bfloat16 where the hardware has it, else float32.

    Raises:
        UserError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise unknown("precision", str(precision), get_args(Precision))
    if precision == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def environment(device: torch.device) -> dict[str, Any]:
    """Return the versions, the commit and the machine, to be saved with every result."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "packages": {name: version for name, version in versions.items() if version},
        "commit": commit(),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        **({"processes": processes.count()} if processes.count() > 1 else {}),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit that this package was built from or runs from, with `+` if it has changes; None if unknown."""
    folder = Path(__file__).resolve().parents[1]
    built = folder / "_commit.txt"  # written by setup.py
    if built.exists():
        return built.read_text(encoding="utf-8").strip()
    if not (folder.parents[1] / ".git").exists():
        return None
    git = ["git", "-C", str(folder)]
    try:
        head = _answer([*git, "rev-parse", "--short=12", "HEAD"])
        changed = _answer([*git, "status", "--porcelain", "--", "."])
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else None


def _answer(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=5)  # nosec B603 # constant words, no shell


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
