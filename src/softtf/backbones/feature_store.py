"""The folder that keeps frozen features between runs.

The name of a file is the SHA-256 of everything that its values depend on, so a stale file is never found.

Features reveal much of their inputs, and whoever can write them decides the results of a run. So only their owner can
read the files, and each has a checksum made with the user's key, which lies elsewhere (docs/security.md).
"""

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.kept_features import cache_folder, cache_limit, trim
from softtf.errors import UserError
from softtf.files import private
from softtf.files.private import make_private, user_key
from softtf.files.temporary import is_abandoned, temporary_name
from softtf.files.tensors import checksum, load_tensors, save_tensors
from softtf.streams import Loader

FORMAT = 2
CODE = ("torch", "timm", "transformers", "pillow", "numpy")  # their versions change pixels or features


@dataclass(frozen=True)
class Queries:
    """The features of examples, in their order.

    Attributes:
        values: [n, dim], on the CPU, in the backbone's output type (float32, or float64 for such a backbone).
        seconds: the backbone's time when they were computed, without loading.
        from_disk: whether an earlier run computed them, so that this run spent none of this time.
        loading: the time to load the inputs when they were computed, in seconds.
    """

    values: Tensor
    seconds: float
    from_disk: bool = False
    loading: float = 0.0

    def select(self, rows: Tensor) -> "Queries":
        """Return the features at `rows` [m], with their share of the seconds."""
        return Queries(self.values[rows], self.seconds * len(rows) / len(self.values), self.from_disk, self.loading)


class FeatureStore:
    """A folder of features. A problem with it costs a note and time, never a run. Its files may be deleted at any time.

    Args:
        folder: the folder, made when first needed; one of another user is not used.
        weights_hash: the backbone's (`Backbone.weights_hash()`), which takes time to compute.
        say: prints a note.
    """

    def __init__(self, folder: Path, weights_hash: str, say: Callable[[str], None]) -> None:
        self.folder, self.weights_hash, self.say = folder, weights_hash, say
        self._writable, self._swept = True, False

    @cached_property
    def key(self) -> bytes | None:
        """The user's key for checksums; None, with a note, if the folder or the key cannot be private."""
        try:
            make_private(self.folder)
            return user_key()
        except UserError as error:
            self.say(f"{error}; features are kept in memory only")
            return None

    def path(self, backbone: Backbone, loader: Loader) -> Path:
        """Return the file of a loader's features, named by the hash of all that they depend on; labels do not count."""
        parts = {
            "format": FORMAT,
            "weights": self.weights_hash,
            "backbone": _settings_hash(backbone),
            "inputs": loader.examples.fingerprint(labels=False),
            "preparation": loader.preparation.fingerprint,
            "computed in": f"{backbone.compute_dtype} on {_hardware(loader.device)}",
            "by": [torch.get_float32_matmul_precision(), *(f"{name} {version(name)}" for name in CODE)],
        }
        name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{name}.safetensors"

    def read(self, path: Path, shape: tuple[int, int]) -> Queries | None:
        """Return the features in a file; None if there is no file, or, with a note, if it is damaged."""
        if not os.path.exists(path) or self.key is None:
            return None
        try:
            tensors = load_tensors(path)
            found = _bytes(tensors.pop("signature", torch.empty(0)))
            right = hmac.compare_digest(found, self._signature(path, tensors))
            if tensors.keys() != {"values", "seconds"} or not right:
                raise UserError(f"{path} is damaged, or signed with another key")
            if tensors["values"].shape != shape:
                raise UserError(f"{path} holds features of shape {list(tensors['values'].shape)}, not {list(shape)}")
        except UserError as error:
            self.say(f"{error}; its features are computed again")
            return None
        with suppress(OSError):
            os.utime(path)  # the least recently used are removed first
        seconds, loading = [*tensors["seconds"].tolist(), 0.0][:2]  # an earlier version wrote no loading
        return Queries(tensors["values"], seconds, True, loading)

    def write(self, path: Path, queries: Queries) -> None:
        """Write features to a file, atomically; after the first failure, which is noted, nothing more is written."""
        if not self._writable or self.key is None:
            return
        seconds = torch.tensor([queries.seconds, queries.loading], dtype=torch.float64)
        tensors = {"values": queries.values, "seconds": seconds}
        own = path.with_name(f"{temporary_name()[1:-4]}.part")  # other processes may write the same file
        try:
            self._sweep()
            signature = torch.tensor(list(self._signature(path, tensors)), dtype=torch.uint8)
            save_tensors(own, {**tensors, "signature": signature}, mode=private.FILE)
            own.replace(path)
            trim(self.folder, cache_limit(self.say))
        except (UserError, OSError) as error:
            self._writable = False
            self.say(f"{error}; features are kept in memory only")
        finally:
            with suppress(OSError):
                own.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the temporary files of killed processes, once."""
        if not self._swept:
            for file in (*self.folder.glob(".*.tmp"), *self.folder.glob("*.part")):
                if is_abandoned(file if file.suffix == ".tmp" else file.with_name(f".{file.stem}.tmp")):
                    file.unlink(missing_ok=True)
        self._swept = True

    def _signature(self, path: Path, tensors: Mapping[str, Tensor]) -> bytes:
        """Return the checksum of a file's name and tensors, made with the user's key."""
        assert self.key is not None
        return hmac.digest(self.key, checksum(tensors, path.name).encode(), "sha256")


def open_store(setting: str | None, weights_hash: str, say: Callable[[str], None]) -> FeatureStore | None:
    """Return the store that a setting names; None if there is none.

    Args:
        setting: as for `cache_folder`; `off` for no store.
        weights_hash: as for `FeatureStore`.
        say: as for `FeatureStore`.
    """
    folder = cache_folder(setting, say)
    return None if folder is None else FeatureStore(folder, weights_hash, say)


def _hardware(device: torch.device) -> str:
    """Return what rounding depends on: the model of a GPU, or the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _settings_hash(backbone: Backbone) -> str:
    """Return the SHA-256 of what the output depends on besides the weights: classes, plain attributes and buffers."""
    digest = hashlib.sha256()
    for name, part in backbone.named_modules():
        plain = {k: v for k, v in sorted(vars(part).items()) if k[0] != "_" and k != "training" and _is_plain(v)}
        digest.update(f"{name}|{type(part).__module__}.{type(part).__qualname__}|{plain}\n".encode())
    digest.update(checksum(dict(backbone.named_buffers())).encode())  # the mean and deviation are not in the state_dict
    return digest.hexdigest()


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
