"""`python -m benchmarks.published FOLDER BATCH THREADS`: a checkout of the published Soft-TF code, call by call.

It runs the code of a folder that the user named, with the libraries of today, in a process of its own: the checkout's
modules have names such as `datasets`. What timm has moved since stands in its old place here, wandb is told nothing,
and without a GPU there is nothing to synchronise. It needs einops, as the checkout does.

Its calls (`benchmarks.calls`) are `train`, `prompt-id TASKS` and `gradient-id TASKS`, on one batch of noise.
"""

import argparse
import contextlib
import importlib
import io
import sys
import types
import warnings
from typing import Any

import torch

from benchmarks.calls import answer_calls

MOST_TASKS = 20  # for which the checkout makes masks
CLASSES = 100
CONFIG = "configs.cifar100_10_dualprompt_pgp"
OF_PROMPTS = (
    *("embedding_key", "prompt_pool", "prompt_key", "top_k", "batchwise_prompt", "prompt_key_init", "head_type"),
    *("use_prompt_mask", "use_g_prompt", "g_prompt_length", "g_prompt_layer_idx", "use_prefix_tune_for_g_prompt"),
    *("use_e_prompt", "e_prompt_layer_idx", "use_prefix_tune_for_e_prompt", "same_key_value", "sparse_patch_c"),
    *("num_register_tokens", "sparsity", "use_lora", "target_layers", "subnet", "param_ratio"),
)


class Silent(types.ModuleType):
    """A module in which every function does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class Published:
    """The published model of the paper's Table 1 on ViT-B/16 with random weights, and its calls."""

    def __init__(self, folder: str, batch: int) -> None:
        sys.path.insert(0, folder)
        sys.modules.setdefault("wandb", Silent("wandb"))
        helpers, builder = (importlib.import_module(f"timm.models.{name}") for name in ("helpers", "_builder"))
        helpers.resolve_pretrained_cfg = builder.resolve_pretrained_cfg  # type: ignore[attr-defined]
        if not torch.cuda.is_available():
            torch.cuda.synchronize = lambda *_: None
        self.engine = importlib.import_module("engine")
        self.args = settings()
        network = importlib.import_module("vision_transformer").VisionTransformer
        shape = {"img_size": 224, "patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
        given = {name: getattr(self.args, name) for name in OF_PROMPTS}
        pool = {"prompt_length": self.args.length, "prompt_init": self.args.prompt_key_init, "pool_size": MOST_TASKS}
        self.original = network(num_classes=CLASSES, target_layers=self.args.target_layers, **shape)
        self.model = network(num_classes=CLASSES, **shape, **given, **pool)
        self.original.requires_grad_(False)
        for name, parameter in self.model.named_parameters():
            if name.startswith(tuple(self.args.freeze)):
                parameter.requires_grad = any(part in name for part in ("ones_weight", "zeros_weight", "w_m"))
        for module in self.model.modules():
            if hasattr(module, "bias_mask"):  # as after the training of every task
                module.bias_mask = dict.fromkeys(range(MOST_TASKS), module.ones_bias)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=1e-4)
        self.batches = [(torch.randn(batch, 3, 224, 224), torch.arange(batch) % (CLASSES // MOST_TASKS))]

    def call(self, name: str, tasks: int = 0) -> None:
        """Make a call."""
        if name == "train":
            self.train()
        else:
            self.answer({"prompt-id": "prompt", "gradient-id": "grad"}[name], tasks)

    def train(self) -> None:
        """Take one step, as one epoch of one batch."""
        own = [list(range(task * 5, task * 5 + 5)) for task in range(MOST_TASKS)]
        loss, device = torch.nn.CrossEntropyLoss(), torch.device("cpu")
        models, rest = (self.model, self.original), (None, None, loss, self.batches, self.optimizer, device, 0)
        self.engine.train_one_epoch(*models, *rest, self.args.clip_grad, True, 0, own, self.args)

    def answer(self, kind: str, tasks: int) -> None:
        """Answer the batch after so many tasks; Gradient ID infers one task for the batch, from seven of its images."""
        self.args.infer_type = kind
        models, where = (self.model, self.original), (self.batches, torch.device("cpu"))
        self.engine.evaluate(*models, *where, 0, tasks - 1, None, self.args, tasks)


def settings() -> argparse.Namespace:
    """Return the checkout's own settings, those of its Table 1 with soft masks."""
    parser = argparse.ArgumentParser()
    importlib.import_module(CONFIG).get_args_parser(parser)
    found = parser.parse_args(["--no_pgp", "--subnet", "soft", "--device", "cpu", "--output_dir", ""])
    found.nb_classes, found.distributed, found.size = CLASSES, False, MOST_TASKS
    return found


def main(folder: str, batch: str, threads: str) -> None:
    """Answer calls until the input ends."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(threads))
    with contextlib.redirect_stdout(io.StringIO()):
        published = Published(folder, int(batch))
    answer_calls(published.call)


if __name__ == "__main__":
    main(*sys.argv[1:])
