"""A continual classifier with scikit-learn's interface (scikit-learn's developer guide: "Developing estimators")."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from softtf.backbones.base import Backbone
from softtf.backbones.load import BackboneSpec
from softtf.classifier import ContinualClassifier
from softtf.config.names import BUNDLED
from softtf.devices.device import Precision
from softtf.errors import UserError
from softtf.learners.spec import LearnerSpec
from softtf.sklearn.samples import as_images, as_samples
from softtf.training.config import TrainConfig

Array = np.ndarray[Any, Any]


class ContinualEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """`ContinualClassifier` for pipelines, cross-validation and model selection.

    X has a sample in each place: images [n, h, w] or [n, h, w, c], a list of paths, texts or PIL images, or `Examples`.
    Rows of numbers [n, columns], as scikit-learn's own data sets have them, are read as images (`image_shape`). What
    is refused is a `UserError`, which is a ValueError.

    `fit` forgets everything and learns X as one task; each `partial_fit` learns one more task, of classes that are new,
    known or both. A pickle holds the learner as `save_pretrained` writes it, as bytes.

    Args:
        backbone: a name (see `softtf list`), a `BackboneSpec`, or a loaded backbone.
        learner: the method; None: `SoftTF()`.
        train: epochs, rates and so on.
        seed: of every random number.
        device: `auto`, `cpu`, `cuda`, ...
        inference: which task inference answers, as for `ContinualClassifier`.
        precision: of matrix products when predicting.
        image_shape: of rows of numbers, (h, w) or (h, w, c); None: a square if the columns make one, else one line.
        value_range: the numbers in rows that stand for black and white, such as (0, 16) for `load_digits`.

    Attributes:
        classes_: the labels, sorted: the columns of `predict_proba`.
        model_: the `ContinualClassifier`, for what scikit-learn has no words for.
        n_features_in_: the columns of rows of numbers.
    """

    classes_: Array
    model_: ContinualClassifier

    def __init__(
        self,
        backbone: str | BackboneSpec | Backbone = BUNDLED,
        learner: LearnerSpec | None = None,
        train: TrainConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        inference: str | None = None,
        precision: Precision = "float32",
        image_shape: Sequence[int] | None = None,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.backbone = backbone
        self.learner = learner
        self.train = train
        self.seed = seed
        self.device = device
        self.inference = inference
        self.precision = precision
        self.image_shape = image_shape
        self.value_range = value_range

    def fit(self, X: Any, y: Any) -> Self:
        """Learn X [n, ...] and y [n] as the first and only task.

        Raises:
            UserError: wrong or empty data, or a setting does not fit.
        """
        return self._learn(X, y, None, self._new())

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn X [n, ...] and y [n] as one more task; if that fails, the estimator is as it was.

        Args:
            X: samples.
            y: their labels.
            classes: labels that may come later; they are in `classes_`, with probability 0 until they do.

        Raises:
            UserError: as for `fit`.
        """
        fresh = not hasattr(self, "model_")
        return self._learn(X, y, classes, self._new() if fresh else self.model_)

    def predict(self, X: Any) -> Array:
        """Return the label [n] of each sample; the task is inferred for each alone."""
        probabilities = self.predict_proba(X)
        found: Array = self.classes_[probabilities.argmax(1)]
        return found

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities [n, classes], in the order of `classes_`."""
        check_is_fitted(self, "model_")
        found = self.model_.predict_proba(self._samples(X, reset=False)).double().numpy()
        columns = np.zeros((len(found), len(self.classes_)))
        columns[:, self._places(self.model_.labels)] = found
        return columns

    def _new(self) -> ContinualClassifier:
        return ContinualClassifier(
            self.backbone,
            self.learner,
            self.train,
            seed=self.seed,
            device=self.device,
            repeated_classes="allow",
            inference=self.inference,
            precision=self.precision,
        )

    def _learn(self, X: Any, y: Any, classes: Any, model: ContinualClassifier) -> Self:
        first = model.num_tasks == 0
        samples, labels = self._samples(X, y, first), self._labels(X, y)
        known = [labels, *([] if first else [self.classes_]), *([] if classes is None else [np.asarray(classes)])]
        together = unique_labels(*known)
        model.learn((samples, labels.tolist()), progress=False)
        self.classes_, self.model_ = together, model
        return self

    def _labels(self, X: Any, y: Any) -> Array:
        if y is None:
            raise UserError("requires y to be passed, but the target y is None")
        labels: Array = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        check_consistent_length(X, labels)
        return labels

    def _samples(self, X: Any, y: Any = "no_validation", reset: bool = True) -> Any:
        """Return X as `learn` takes it; check rows of numbers, and remember their columns if `reset`."""
        samples = as_samples(X)
        if samples is not None:
            if reset and hasattr(self, "n_features_in_"):
                del self.n_features_in_
            return samples
        found = validate_data(self, X, y, reset=reset, dtype=np.float64)
        rows = found[0] if isinstance(found, tuple) else found
        return as_images(rows, self.image_shape, self.value_range)

    def _places(self, labels: Sequence[Any]) -> list[int]:
        place = {label: i for i, label in enumerate(self.classes_.tolist())}
        return [place[label] for label in labels]

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn should know: images are taken too, and rows of any numbers are no good images."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.classifier_tags.poor_score = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings, and the learner's files as bytes."""
        state: dict[str, Any] = super().__getstate__()
        if "model_" not in state:
            return state
        with TemporaryDirectory() as folder:
            state["model_"].save_pretrained(folder)
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return {**state, "model_": files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the learner from its files' bytes."""
        files = state.get("model_")
        super().__setstate__(dict(state))
        if not isinstance(files, dict):
            return
        with TemporaryDirectory() as folder:
            for name, data in files.items():
                (Path(folder) / Path(name).name).write_bytes(data)
            self.model_ = ContinualClassifier.from_pretrained(folder, backbone=self.backbone, device=self.device)
