"""The sites of several adaptations that edit one backbone."""

from collections.abc import Iterable, Sequence

from softtf.adaptations.base import Adaptation, Site
from softtf.backbones.base import Backbone
from softtf.errors import UserError


def by_site(sites_of: Iterable[tuple[Adaptation, frozenset[Site]]]) -> dict[Site, list[Adaptation]]:
    """Return the adaptations at each site, in their order."""
    found: dict[Site, list[Adaptation]] = {}
    for adaptation, sites in sites_of:
        for site in sites:
            found.setdefault(site, []).append(adaptation)
    return found


def check_sites(adaptations: Sequence[Adaptation], backbone: Backbone) -> None:
    """Check that every site is in the backbone, and that no weight is edited after an output edit has replaced it.

    Raises:
        UserError: one of these does not hold.
    """
    for i, first in enumerate(adaptations):
        for block, name in sorted(first.sites):
            if not (0 <= block < backbone.depth and name in backbone.weight_names):
                raise UserError(
                    f"{type(first).__name__} edits {name!r} of block {block}, which backbone {backbone.name!r} does not"
                    f" have; it has blocks 0 to {backbone.depth - 1} with {', '.join(backbone.weight_names)}"
                )
        in_training = first.weight_sites & first.output_sites  # in training the output edit replaces the weight edit
        for later in adaptations[i + 1 :]:
            if not in_training.isdisjoint(later.weight_sites):
                raise UserError(
                    f"dropout runs beside a weight that {type(later).__name__} edits after it; put the adaptation with"
                    " dropout last, or give it dropout 0"
                )
