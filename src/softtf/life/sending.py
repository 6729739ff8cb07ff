"""Where a classifier goes: into a folder, to the Hub, into files that other programs run."""

import tempfile
from pathlib import Path
from typing import Any, Literal

from softtf.config.arguments import checked
from softtf.config.bounds import Natural
from softtf.devices.torch_state import with_own_settings
from softtf.inference.policy import policy_of
from softtf.life.describing import Describing
from softtf.saving.card import Measured, card_text, write_card
from softtf.saving.hub import check_name, earlier_card, upload
from softtf.saving.learner import save_learner
from softtf.saying import warn

Task = int | str
"""A task by its number, from 0, or by its name."""


class Sending(Describing):
    """A predictor that is saved, exported, and sent to the Hub."""

    saved_as: frozenset[str] = frozenset()  # the versions on disk that it comes from

    @with_own_settings
    @checked
    def save_pretrained(
        self, folder: str | Path, *, replace: bool = False, sign: bytes | None = None, keep_versions: Natural = 0
    ) -> None:
        """Save to a folder: a header with the settings, one safetensors file per task, and the hashes of all files.

        `from_pretrained` restores the whole classifier except `device` and `feature_cache`, which are not saved.

        Args:
            folder: a new or empty folder, or one with what a killed save left.
            replace: allow a folder that holds a learner. It is replaced in one step: after a crash the folder holds the
                old one or the new one, and a process that loads it meanwhile gets one of them. Task files with the same
                content stay, as do other files. A warning says what is replaced, unless it is an earlier version of
                this learner.
            sign: a secret key of at least 16 bytes; `from_pretrained(folder, verify=key)` then refuses files that were
                changed without the key (HMAC-SHA256 over the hashes).
            keep_versions: how many earlier versions stay in the folder with `replace` (`softtf.saving.earlier`). 0
                keeps none, so that what was removed from the learner is gone from the disk too.

        Raises:
            UserError: the folder holds something else, another process is saving there, or the disk is full (no
                half-written learner is left).
        """
        known, finished = self.saved_as, self.knowledge.finished
        saved = save_learner(Path(folder), self.header, *finished, replace, sign, known, keep_versions)
        write_card(Path(folder), card_text(self.header, finished), warn)
        self.saved_as = known | {saved}

    @with_own_settings
    @checked
    def export(
        self,
        folder: str | Path,
        *,
        format: Literal["onnx", "torch"] = "onnx",
        inference: str | None = None,
        task: Task | None = None,
    ) -> dict[str, Any]:
        """Write files that answer like the classifier, to 1e-4, without softtf; what is written is checked first.

        The folder has an `answer.py`, which runs them with NumPy and onnxruntime (docs/ship.md). With `task` it is one
        task's network as a plain model of timm or transformers, with W * m merged, for that task's classes alone.

        Args:
            folder: new or empty.
            format: `onnx` (from softtf[export]) or `torch`, archives of torch.export; not read with `task`.
            inference: another task inference than the classifier's own, per sample, that reads no gradients.
            task: its number, from 0, or its name; None for all.

        Returns:
            what `export.json` in the folder says, with the `largest_difference` of a probability.

        Raises:
            UserError: nothing was learned, the policy or the method cannot be exported, or the folder is not empty.
        """
        from softtf.export.learner import export_learner
        from softtf.export.plain import export_task

        finished = self._finished()
        if task is not None:
            return export_task(Path(folder), finished, finished.classes.task_number(task))
        policy = policy_of(inference, finished.learner) if inference else self.inference
        return export_learner(Path(folder), self.header, finished, policy, format)

    @with_own_settings
    @checked
    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
        sign: bytes | None = None,
        measured: Measured | None = None,
    ) -> str:
        """Save to a repository of the Hub, which is made if it is new; `from_pretrained(name)` loads it again.

        Files of an earlier version go, but stay in the repository's history. What a user wrote below softtf's part of
        the card stays.

        Args:
            name: user/name.
            private: whether a new repository is private; None for what the user's account says.
            revision: the branch; it is made if it is new.
            token: the Hub's; None for the one that its client finds (`hf auth login`).
            sign: as for `save_pretrained`.
            measured: as for `card`.

        Returns:
            the commit, to be given to `from_pretrained` as `revision`.

        Raises:
            UserError: the name is none, or the Hub refuses it or cannot be reached.
        """
        check_name(name, revision)
        if path := next(iter(self.header.backbone.paths), None):
            warn(f"the learner names its backbone by a path, {path!r}: who loads it must have it, and give it")
        finished = self.knowledge.finished
        with tempfile.TemporaryDirectory(prefix="softtf-") as temporary:
            folder = Path(temporary) / "learner"
            save_learner(folder, self.header, *finished, sign=sign)
            earlier_card(name, folder, revision, token)
            write_card(folder, card_text(self.header, finished, measured, name), warn)
            return upload(folder, name, private, revision, token)
