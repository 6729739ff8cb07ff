import numpy as np
import pytest

from figures import drawn, table
from figures.conftest import Make
from softtf.adaptations.soft_mask import SoftMasks
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.figures import numbers_of


def slow_density(values: np.ndarray, bins: list[tuple[float, float]]) -> list[float]:  # type: ignore[type-arg]
    """The share of the values in each bin by its width, counted one by one; the last bin has both bounds."""
    last = bins[-1][1]
    counts = [sum(low <= v < high or v == high == last for v in values.ravel()) for low, high in bins]
    return [count / values.size / (high - low) for count, (low, high) in zip(counts, bins, strict=True)]


def test_densities_are_those_of_the_saved_masks(made: Make) -> None:
    run = made()
    found = numbers_of("densities", [run], tasks=[2])
    model = ContinualClassifier.from_pretrained(run / "learner", device="cpu")
    (masks,) = (a for a in model.learner.network.adaptations if isinstance(a, SoftMasks))
    rows = table(found)
    assert {(row["layer"], row["module"]) for row in rows} == {("6", "qkv"), ("6", "proj")}
    for site in masks.shapes:
        if site.block != 5:
            continue
        frozen = model.learner.network.backbone.linear(*site).weight.detach().double()
        mask = masks.matrix(1, f"layer06_{site.weight}", frozen.device).double()
        wanted = {"m": mask, "W*m": frozen * mask, "W": frozen}
        for quantity, values in wanted.items():
            mine = [row for row in rows if (row["module"], row["quantity"]) == (site.weight, quantity)]
            bins = [(float(row["left"]), float(row["right"])) for row in mine]
            assert [float(row["density"]) for row in mine] == pytest.approx(slow_density(values.numpy(), bins))
            assert {row["task"] for row in mine} == {"" if quantity == "W" else "2"}
            assert float(mine[0]["std"]) == pytest.approx(values.std(correction=0).item())
    assert len(drawn("densities", found).axes) == 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dual-prompt+wsn", "dual-prompt+softnet"])
def test_hard_and_minor_masks_have_densities_too(method: str, made: Make) -> None:
    found = numbers_of("densities", [made(method)], layer=5)
    masks = [row for row in found.rows if row.quantity == "m"]
    assert (min(row.left for row in masks), max(row.right for row in masks)) == pytest.approx((0, 1), abs=0.01)
    assert {row.task for row in masks} == {1, 2}


def test_what_is_not_there_is_refused(made: Make) -> None:
    with pytest.raises(UserError, match=r"\(dual-prompt\) has no masks; this figure needs a run with Soft-TF"):
        numbers_of("densities", [made("dual-prompt")])
    with pytest.raises(UserError, match="there is no task 3; tasks 1 to 2 were learned"):
        numbers_of("densities", [made()], tasks=[3])
    with pytest.raises(UserError, match="has masks on layers 5, 6, not on 4"):
        numbers_of("densities", [made()], layer=4)
    with pytest.raises(UserError, match="one run, not 2"):
        numbers_of("densities", [made(), made("ncm")])
