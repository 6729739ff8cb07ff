"""The test sets of several tasks as one, and what is kept of them between scorings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.feature_store import FeatureStore
from softtf.backbones.features import FixedQueries
from softtf.evaluation.kept import KeptTrunks
from softtf.inference.predict import test_loader
from softtf.learners.class_table import ClassTable
from softtf.streams import Examples, Loader


@dataclass(frozen=True)
class TestData:
    """The test sets of several tasks as one.

    loader: in test mode. labels: [samples], label numbers. tasks: [samples], the task of each sample's test set.
    queries,
    trunks: those of the samples, kept if they are scored more than once.
    """

    __test__ = False  # not a pytest class

    loader: Loader
    labels: Tensor
    tasks: Tensor
    queries: FixedQueries | None = None
    trunks: KeptTrunks | None = None

    @classmethod
    def of(
        cls,
        tests: Sequence[Examples],
        classes: ClassTable,
        backbone: Backbone,
        batch_size: int,
        store: FeatureStore | None = None,
        again: bool = False,
    ) -> Self:
        """Concatenate the test sets of tasks 1, 2, ...

        Args:
            tests: one per task.
            classes: holds the labels of all of them; a run gives the whole stream's.
            backbone: prepares them.
            batch_size: samples run at once.
            store: where the backbone's features are kept; None for memory only.
            again: whether they are scored more than once: then what no later task changes is kept.

        Raises:
            UserError: a test label is not in the class table, or the batch size is out of bounds.
        """
        whole = Examples.concatenate(list(tests))
        labels = torch.tensor([classes.number(label) for label in whole.labels])
        tasks = torch.repeat_interleave(torch.arange(len(tests)), torch.tensor([len(t) for t in tests]))
        loader = test_loader(whole, backbone, batch_size)
        queries = FixedQueries(backbone, loader, store) if store or again else None
        return cls(loader, labels, tasks, queries, KeptTrunks() if again else None)
