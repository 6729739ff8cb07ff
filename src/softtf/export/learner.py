"""Write a learner as files that answer like it, and check that they do."""

import hashlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.base import Backbone, Tokens
from softtf.devices.memory import needs_memory
from softtf.errors import UserError
from softtf.export import answer
from softtf.export.files import CHECKED, TRACED, Format, on_cpu, require_close, sample_inputs, write_about, write_graph
from softtf.export.graphs import Top, Trunk, Whole, check_policy, names_of, right_answer, tensors_of
from softtf.files.label_json import encode_label
from softtf.files.new_folder import new_folder
from softtf.inference.base import INFERENCES
from softtf.inference.policy import Policy
from softtf.inference.predict import by_label
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished
from softtf.network import SharedPass
from softtf.saving.header import Header
from softtf.streams.images import ImagePreparation
from softtf.streams.texts import TextPreparation
from softtf.streams.views import ImageViews

ENDINGS: dict[Format, str] = {"onnx": "onnx", "torch": "pt2"}
PACKAGES = ("onnx", "onnx_ir", "onnxscript", "onnxruntime")


@needs_memory("export the learner")
def export_learner(
    folder: Path, header: Header, finished: Finished, policy: Policy, form: Format = "onnx"
) -> dict[str, Any]:
    """Write a learner's answer as graphs, with `answer.py` that runs them, into a new folder.

    The files are run before they are moved into place, on other inputs than those that they were traced with, as many
    at once as fits no trace.

    Args:
        folder: new or empty.
        header: of the learner.
        finished: what it learned.
        policy: by which it answers, per sample.
        form: `onnx`, or `torch` for torch.export's archives.

    Returns:
        the content of `export.json`; `largest_difference` is that of a probability from the learner's own.

    Raises:
        UserError: the policy or the method cannot be written as a graph, the folder is not empty, a package is missing,
            or the files answer otherwise than the learner.
    """
    check_policy(policy)
    if form == "onnx" and (missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]):
        raise UserError(f"an export to ONNX needs {', '.join(missing)}: pip install 'softtf[export]'")
    learner = on_cpu(finished.learner)
    with new_folder(folder) as place, learner.computing_in(torch.float32):
        inputs = sample_inputs(learner.network.backbone, TRACED + CHECKED)
        about = _about(header, finished.classes, learner, policy)
        about["preparation"] = _preparation(learner.network.backbone, place)
        about |= _written(place, learner, policy, inputs[:TRACED], form)
        shutil.copyfile(answer.__file__, place / "answer.py")
        about["sha256"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(place.iterdir())}
        write_about(place, about)
        about["largest_difference"] = _difference(place, learner, finished.classes, policy, inputs[TRACED:])
        write_about(place, about)
    return about


def _written(place: Path, learner: Learner, policy: Policy, inputs: Tensor, form: Format) -> dict[str, Any]:
    """Write the graphs; return their names."""
    ending, tokens_vary = ENDINGS[form], learner.network.backbone.reads_text
    if not INFERENCES[policy.inference].names_task:
        write_graph(place / f"learner.{ending}", Whole(learner), {"inputs": inputs}, ["probabilities"], tokens_vary)
        return {"trunk": f"learner.{ending}", "tops": []}
    with torch.no_grad():
        tokens: Tokens = SharedPass(learner.network, inputs).trunk
    names = names_of(tokens)
    write_graph(place / f"trunk.{ending}", Trunk(learner, policy), {"inputs": inputs}, [*names, "shares"], tokens_vary)
    tops = [f"task-{task + 1:03d}.{ending}" for task in range(learner.num_tasks)]
    given = dict(zip(names, tensors_of(tokens), strict=True))
    for task, name in enumerate(tops):
        write_graph(place / name, Top(learner, task, policy.within_task, tokens), given, ["probabilities"], tokens_vary)
    return {"trunk": f"trunk.{ending}", "tops": tops}


def _about(header: Header, classes: ClassTable, learner: Learner, policy: Policy) -> dict[str, Any]:
    return {
        "export_format": answer.FORMAT,
        "method": header.learner.kind,
        "backbone": header.backbone.weights_title(header.backbone_sha256),
        "policy": policy.code,
        "tasks": list(classes.names),
        "labels": [encode_label(label) for label in classes.labels],
        "columns": classes.column_labels().tolist(),
        "column_tasks": learner.column_tasks().tolist(),
    }


def _preparation(backbone: Backbone, place: Path) -> dict[str, Any]:
    """Return how `answer.py` prepares inputs; write the tokenizer that it needs.

    Raises:
        UserError: the backbone's inputs are prepared in a way of its own.
    """
    preparation: Any = backbone.preparation
    if isinstance(preparation, ImageViews):
        views = preparation.views
        return {"kind": "image", "size": views[0].size, "resize": [v.resize for v in views], "views": True}
    if isinstance(preparation, ImagePreparation):
        return {"kind": "image", "size": preparation.size, "resize": [preparation.resize], "views": False}
    if isinstance(preparation, TextPreparation):
        preparation.tokenizer.save(str(place / "tokenizer.json"))  # which truncates, and does not pad
        return {"kind": "text"}
    raise UserError(f"the inputs of backbone {backbone.name!r} are prepared in a way of its own; it cannot be exported")


def _difference(place: Path, learner: Learner, classes: ClassTable, policy: Policy, inputs: Tensor) -> float:
    """Return the largest difference of a probability; run on all inputs, and on the first one alone.

    Raises:
        UserError: it is more than 1e-4.
    """
    right = by_label(right_answer(learner, policy, inputs), classes.column_labels())
    files, worst = answer.Exported(place), 0.0
    for rows in (slice(None), slice(1)):
        found = torch.from_numpy(files.answer(inputs[rows].numpy())[0])
        worst = max(worst, require_close(found, right[rows]))
    return worst
