"""LayUP against slow, obvious forms: its features, its cross-validation, and a plain regression on all data at once."""

import pytest
import torch

from class_statistics.test_random_ridge import shares_of
from softtf.backbones.block_features import LastTokens
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import LayUP
from softtf.learners.layup import FACTORS, FOLDS, LayerRidge
from softtf.statistics.ridge_sums import RidgeSums
from support.tiny import inputs, noise, tiny_backbone
from support.tiny_bert import text_task, texts, tiny_bert

SIZE, LABELS = 12, 3


def test_it_is_one_plain_regression_of_all_tasks() -> None:
    labels = torch.arange(40) // 10
    f = noise(4, SIZE, seed=1)[labels] + noise(40, SIZE, seed=2)
    found, shares = shares_of(LayerRidge(SIZE), [(f[:20], labels[:20]), (f[20:], labels[20:])])
    total = RidgeSums.total(shares, "", SIZE, 4)
    y = torch.eye(4, dtype=torch.float64)[labels]
    expected = torch.linalg.solve(f.T @ f + found.ridge * torch.eye(SIZE, dtype=torch.float64), f.T @ y)
    torch.testing.assert_close(found.weights.double(), expected, rtol=1e-3, atol=1e-6)
    _, back = shares_of(LayerRidge(SIZE), [(f[20:], labels[20:] - 2), (f[:20], labels[:20] + 2)])
    _, whole = shares_of(LayerRidge(SIZE), [(f, labels)])
    for other, places in ((back, [2, 3, 0, 1]), (whole, [0, 1, 2, 3])):
        sums = RidgeSums.total(other, "", SIZE, 4)
        torch.testing.assert_close(sums.gram, total.gram, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(sums.cross[:, places], total.cross, rtol=1e-5, atol=1e-5)


def test_one_block_differs_from_the_backbones_own_feature_by_the_final_norm_alone() -> None:
    inner, x = tiny_backbone(), inputs(4)
    features = LastTokens(inner, 1)
    with torch.no_grad():
        own = inner.pool(inner.run(inner.embed(x), 0, inner.depth))
        torch.testing.assert_close(inner.vit.norm(features.embed(x).features), own)
    assert LastTokens(inner, 99).dim == 4 * 32


def test_a_task_chooses_what_names_most_of_its_examples_in_four_folds() -> None:
    new_labels = torch.arange(26) % 2 + 1  # 0 is an old label
    centres = noise(LABELS, SIZE, seed=1)
    h = centres[new_labels] + 1.5 * noise(26, SIZE, seed=2)
    old_h = centres[:1] + 1.5 * noise(13, SIZE, seed=3)
    old, new = RidgeSums.zeros(SIZE, LABELS), RidgeSums.zeros(SIZE, LABELS)
    old.add(old_h, torch.zeros(13, dtype=torch.int64))
    new.add(h, new_labels)
    right = dict.fromkeys(FACTORS, 0)
    place = {1: 0, 2: 0}
    folds = []
    for label in new_labels.tolist():
        folds.append(place[label] % FOLDS)
        place[label] += 1
    for fold in range(FOLDS):
        rows = [i for i, f in enumerate(folds) if f != fold]
        some, own = torch.cat([old_h, h[rows]]), torch.cat([torch.zeros(13).long(), new_labels[rows]])
        weights = torch.tensor([1 / float((own == c).sum()) for c in own])  # labels weigh the same
        means = torch.stack([some[own == c].mean(0) for c in range(LABELS)])
        scatter = sum(torch.outer(row - means[c], row - means[c]) for row, c in zip(some, own.tolist(), strict=True))
        gram = LABELS * scatter / len(own) + means.T @ means  # their scatter is that of all together
        assert float(weights.sum()) == pytest.approx(LABELS)
        for factor in FACTORS:
            ridge = factor * float(gram.trace()) / SIZE / LABELS * LABELS / len(own)
            w = torch.linalg.solve(gram + ridge * torch.eye(SIZE).double(), means.T)
            for i in (i for i, f in enumerate(folds) if f == fold):
                right[factor] += int(int((h[i] @ w).argmax()) == int(new_labels[i]))
    chosen, error = LayerRidge(SIZE).choose(old, new, h, new_labels)
    assert right[chosen] == max(right.values()) and error == pytest.approx(1 - max(right.values()) / 26)
    assert chosen == next(factor for factor in FACTORS if right[factor] == right[chosen])


def test_a_task_of_single_examples_cannot_tell() -> None:
    h, labels = noise(3, SIZE, seed=2), torch.arange(3)
    new = RidgeSums.zeros(SIZE, LABELS)
    new.add(h, labels)
    assert LayerRidge(SIZE).choose(RidgeSums.zeros(SIZE, LABELS), new, h, labels) == (None, 0.0)


def test_texts_are_read_by_the_means_of_their_last_layers() -> None:
    model = ContinualClassifier(tiny_bert(), LayUP(2))
    for task in (0, 1):
        model.learn(text_task(task), progress=False)
    some = list(texts(5, 3))
    alone = torch.cat([model.predict_proba([text]) for text in some])
    torch.testing.assert_close(alone, model.predict_proba(some), rtol=0, atol=1e-5)
    assert model.features(some).shape == (5, 2 * tiny_bert().dim)


def test_no_block_is_refused() -> None:
    with pytest.raises(UserError, match="blocks"):
        LayUP(0)
