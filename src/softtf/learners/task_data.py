"""The current task: its labels, its training data, and the frozen features of its examples."""

from collections.abc import Hashable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.feature_store import FeatureStore, Queries
from softtf.backbones.features import FixedQueries
from softtf.errors import TrainingError
from softtf.learners.class_table import ClassTable, own_columns
from softtf.streams import Examples, Loader
from softtf.streams.preparation import TrainingInputs, unaugmented


class TaskData:
    """What a learner's hooks get of the current task.

    labels: those of its classes, in the order of their columns. column_labels: [classes so far], the label number of
    each logit column. columns: [n], on the CPU, the logit column of each of the task's own examples.

    Args:
        examples: the task's own examples.
        table: of all classes so far, the task's last.
        backbone: prepares the inputs, and computes the frozen features.
        batch_size: batch size in training.
        augment: whether training data are augmented.
        store: where frozen features are kept; None for memory only.
    """

    def __init__(
        self,
        examples: Examples,
        table: ClassTable,
        backbone: Backbone,
        batch_size: int,
        augment: bool = True,
        store: FeatureStore | None = None,
    ) -> None:
        self.labels, self.column_labels = table.tasks[-1], table.column_labels()
        self.known: list[Hashable] = [label for labels in table.tasks for label in labels]
        self.columns = own_columns(examples.labels, self.labels) + len(self.column_labels) - len(self.labels)
        self.examples, self.trained_on, self.targets = examples, examples, self.columns
        self.backbone, self.batch_size, self.augment, self.store = backbone, batch_size, augment, store

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    def rehearse(self, inputs: Sequence[Tensor], columns: Tensor) -> None:
        """Train on old examples too; call it in `begin_task`.

        Args:
            inputs: as `Loader.loaded` returned them.
            columns: [len(inputs)], their logit columns.
        """
        assert "loader" not in vars(self), "the loader was read already"
        self.trained_on = Examples.concatenate([self.trained_on, Examples(inputs, columns, "exemplars")])
        self.targets = torch.cat([self.targets, columns])

    @cached_property
    def loader(self) -> Loader:
        """All training data, in training mode; its targets are logit columns."""
        preparation = self.backbone.preparation
        preparation = preparation if self.augment else unaugmented(preparation)
        return Loader(self.trained_on, self.targets, preparation, True, self.batch_size, self.device)

    @cached_property
    def own_queries(self) -> FixedQueries:
        """The frozen features of the task's own examples, unaugmented."""
        return self._queries(self.examples)

    @cached_property
    def queries(self) -> FixedQueries:
        """The frozen features of all training data, unaugmented."""
        return self.own_queries if self.trained_on is self.examples else self._queries(self.trained_on)

    @property
    def features(self) -> Queries:
        """The frozen features [n, dim] of the task's own examples, unaugmented; computed on first use.

        Raises:
            UserError: an input cannot be loaded.
            TrainingError: a feature is not finite.
        """
        found = self.own_queries.get()
        if not found.values.isfinite().all():
            raise TrainingError("a feature of the frozen backbone is not finite; try float32, or look at the inputs")
        return found

    def _queries(self, examples: Examples) -> FixedQueries:
        unread = torch.zeros(len(examples), dtype=torch.int64)
        plain = TrainingInputs(unaugmented(self.backbone.preparation))
        loader = Loader(examples, unread, plain, False, self.batch_size, self.device, cache_bytes=0)
        return FixedQueries(self.backbone, loader, self.store)
