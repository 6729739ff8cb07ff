"""softtf.sklearn keeps scikit-learn's contract, and what `partial_fit` learns is what `learn` learns."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from softtf import ContinualClassifier, Examples, UserError
from softtf.backbones import Backbone, BackboneSpec, backbone
from softtf.learners import NCM, BlockRidge
from softtf.sklearn import ContinualEstimator
from support.registries import forgetting_names
from support.tiny import task_data, tiny_backbone

TINY = "tiny-of-sklearn-tests"


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    with forgetting_names():

        @backbone(TINY)
        def tiny(spec: BackboneSpec) -> Backbone:
            return tiny_backbone(depth=2)

        yield


@pytest.mark.slow
@parametrize_with_checks([ContinualEstimator(TINY, NCM(), device="cpu", value_range=(-1e4, 1e4))])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    """All of them, without an exception. They ask for no accuracy (the tag `poor_score`): rows are no pictures."""
    check(estimator)


def estimator(**settings: Any) -> ContinualEstimator:
    return ContinualEstimator(**({"backbone": TINY, "learner": BlockRidge(30, views=1), "device": "cpu"} | settings))


def data(task: int, per_class: int = 4) -> tuple[np.ndarray[Any, Any], list[str]]:
    examples = task_data(task, per_class)
    return np.stack([picture.numpy() for picture in examples]), [str(label) for label in examples.labels]


def test_each_partial_fit_is_one_task_and_answers_are_the_classifiers() -> None:
    model = ContinualClassifier(TINY, BlockRidge(30, views=1), device="cpu", repeated_classes="allow")
    found = estimator()
    for task in (0, 1):
        images, labels = data(task)
        model.learn((images, labels), progress=False)
        found.partial_fit(images, labels, classes=["z"] if task == 0 else None)
    images, labels = data(0)
    assert found.predict(images).tolist() == model.predict(images)
    assert found.classes_.tolist() == sorted([*model.labels, "z"])
    probabilities = found.predict_proba(images)
    assert probabilities.shape == (12, 6) and np.allclose(probabilities.sum(1), 1)
    order = [found.classes_.tolist().index(label) for label in model.labels]
    assert np.array_equal(probabilities[:, order], model.predict_proba(images).double().numpy())
    assert not probabilities[:, found.classes_.tolist().index("z")].any()
    assert found.score(images, labels) > 0.5
    assert found.fit(images, labels).model_.num_tasks == 1 and "z" not in found.classes_


def test_a_task_that_fails_leaves_the_estimator_as_it_was() -> None:
    images, labels = data(0)
    found = estimator().partial_fit(images, labels)
    before = found.predict_proba(images)
    with pytest.raises(UserError):
        found.partial_fit(["no such file.png", "nor this.png"], ["x", "y"])
    assert np.array_equal(found.predict_proba(images), before) and "x" not in found.classes_
    with pytest.raises(NotFittedError):
        estimator().predict(images)


def test_a_pickle_holds_safe_files_and_answers_alike_and_a_clone_knows_nothing() -> None:
    images, labels = data(0)
    found = estimator().fit(images, labels)
    state = found.__getstate__()["model_"]
    assert {"learner.json", "manifest.json", "task-001.safetensors"} <= state.keys()
    assert all(type(content) is bytes for content in state.values())
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.predict_proba(images), found.predict_proba(images))
    again.partial_fit(*data(1))
    assert again.model_.num_tasks == 2 and found.model_.num_tasks == 1
    with pytest.raises(NotFittedError):
        clone(found).predict(images)


@pytest.mark.slow
def test_cross_validation_and_pipelines_take_arrays_and_lists_of_paths(tmp_path: Path) -> None:
    images, labels = data(0, 6)
    paths = []
    for place, image in enumerate(images):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.fromarray(image).save(paths[-1])
    scores = [cross_val_score(estimator(), X, labels, cv=2) for X in (images, paths, np.array(paths, object))]
    assert len(scores[0]) == 2 and all(np.array_equal(one, scores[0]) for one in scores)
    pipeline = make_pipeline(FunctionTransformer(), estimator()).fit(paths, labels)
    assert pipeline.predict(paths).tolist() == estimator().fit(images, labels).predict(images).tolist()
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": paths}, index=range(100, 118))
    expected = pipeline.predict(paths)
    assert all(np.array_equal(pipeline.predict(X), expected) for X in (frame, frame["path"], Examples(paths, labels)))
    search = GridSearchCV(estimator(), {"learner": [NCM(), BlockRidge(30, views=1)]}, cv=2).fit(images, labels)
    assert set(search.predict(images)) <= set(labels)


def test_rows_of_numbers_are_images_of_a_shape_and_a_range() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows, images = digits.data[:30], (digits.images[:30] / 16).astype(np.float32)
    by_rows = estimator(value_range=(0, 16)).fit(rows, digits.target[:30])
    by_images = estimator().fit(images, digits.target[:30])
    assert by_rows.n_features_in_ == 64 and np.array_equal(by_rows.predict(rows), by_images.predict(images))
    for settings, words in (({}, "outside value_range"), ({"value_range": (0, 16), "image_shape": (7, 7)}, "not fit")):
        with pytest.raises(UserError, match=words):
            estimator(**settings).fit(rows, digits.target[:30])
    with pytest.raises(ValueError, match="expecting 64 features"):
        by_rows.predict(rows[:, :63])
