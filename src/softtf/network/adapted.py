"""The adapted network, cut where the task begins to matter: stem and trunk once for all tasks, top per task.

    inputs --embed, stem--> tokens --trunk--> tokens --top(task | mixture)--> features --heads--> logits

The *stem* is all blocks below the first edit. It is also the bottom of the untouched backbone, so the query shares it.
The *trunk* continues to the first block that a per-task parameter edits; only shared parameters edit it (a G-prompt, or
prompts from a pool that the query chooses). The *top* is the rest, for one task or for the mixture of all.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from softtf.adaptations.base import ALL_ROWS, Adaptation, Selection, Site
from softtf.adaptations.quantised import QuantisedAdaptation
from softtf.adaptations.sites import by_site, check_sites
from softtf.adaptations.slots import Heads
from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.backbones.edits import joined, side_by_side
from softtf.backbones.mixed_linear import MixedWeight
from softtf.backbones.segments import Segment, SegmentedWeight, segments_of
from softtf.devices.torch_state import make_recordable


class AdaptedNetwork(nn.Module):
    """A frozen backbone, its adaptations and one head per task."""

    def __init__(self, backbone: Backbone, adaptations: Sequence[Adaptation], heads: Heads | None = None) -> None:
        super().__init__()
        make_recordable(backbone)
        self.backbone = backbone
        check_sites(adaptations, backbone)
        self.adaptations = nn.ModuleList(adaptations)
        self._weight_editors = by_site((a, a.weight_sites) for a in adaptations)
        self._task_weight_sites = {s for a in adaptations for s in a.weight_sites if s.block in a.task_blocks}
        # Edits of weights come first, so that edits of outputs read the same values in training and later.
        stand_ins_first = sorted(adaptations, key=lambda a: a.weight_sites.isdisjoint(a.output_sites))
        self._output_editors = by_site((a, a.output_sites) for a in stand_ins_first)
        self.heads = heads or Heads(backbone.dim)
        if any(isinstance(a, QuantisedAdaptation) and a.storage == "int8" for a in adaptations):
            for slots in (self.heads, *adaptations):
                if not isinstance(slots, QuantisedAdaptation):
                    slots.storage = "float16"  # beside one byte per parameter, four would be most of the file
        depth = backbone.depth
        per_task = [a.task_blocks for a in adaptations]
        shared = [a.shared_blocks for a in adaptations]
        self.first_task_block = min((b for blocks in per_task for b in blocks), default=depth)
        self.first_edited_block = min((b for blocks in per_task + shared for b in blocks), default=depth)

    def frozen_copy(self) -> "AdaptedNetwork":
        """Return a copy of the network on the same backbone; later training does not change it."""
        copy = AdaptedNetwork(self.backbone, deepcopy(list(self._adaptations)), deepcopy(self.heads))
        copy.adaptations.requires_grad_(False)
        copy.heads.requires_grad_(False)
        return copy

    @property
    def _adaptations(self) -> list[Adaptation]:
        return list(self.adaptations)  # type: ignore[arg-type]

    @property
    def top_depends_on_task(self) -> bool:
        """Whether tasks differ in more than their heads."""
        return self.first_task_block < self.backbone.depth

    @property
    def is_untouched(self) -> bool:
        """Whether nothing edits the backbone; every task's features are then the query."""
        return self.first_edited_block == self.backbone.depth

    @property
    def trunk_is_settled(self) -> bool:
        """Whether no later task changes the trunk: every shared parameter that edits it is frozen."""
        return not any(parameter.requires_grad for parameter in self._shared_by_trunk().values())

    def shared_by_trunk(self) -> dict[str, Tensor]:
        """Return the values of the shared parameters that edit the trunk, by name."""
        return {name: parameter.detach() for name, parameter in self._shared_by_trunk().items()}

    def _shared_by_trunk(self) -> dict[str, nn.Parameter]:
        below = range(self.first_task_block)
        shared = ((i, a) for i, a in enumerate(self._adaptations) if not a.shared_blocks.isdisjoint(below))
        return {f"{i}.{name}": parameter for i, a in shared for name, parameter in a.shared_parameters()}

    @property
    def needs_query(self) -> bool:
        """Whether the trunk, or a learner that reads its tokens, needs the query."""
        return any(a.reads_query for a in self._adaptations)

    @property
    def edits_weights(self) -> bool:
        """Whether tasks differ in weights (masked ones, adapters), not only in prompts and heads."""
        return any(site.block in a.task_blocks for a in self._adaptations for site in a.sites)

    def stem(self, inputs: Tensor) -> Tokens:
        """Embed inputs and run the blocks that nothing edits."""
        with torch.no_grad():
            return self.backbone.run(self.backbone.embed(inputs), 0, self.first_edited_block)

    def query(self, stem: Tokens) -> Tensor:
        """Run the rest of the untouched backbone from the stem: q(x) [batch, dim]."""
        with torch.no_grad():
            tokens = self.backbone.run(stem, self.first_edited_block, self.backbone.depth)
            return self.backbone.pool(tokens)

    def trunk(self, stem: Tokens, query: Tensor | None = None) -> Tokens:
        """Put prompts before or after the embedded tokens, if any, and run the blocks that only shared parameters edit.

        query: q(x) [batch, dim], if `needs_query`; it is kept with the tokens.
        """
        tokens = self._run(self._prompted(stem, query), self.first_edited_block, self.first_task_block, None)
        return replace(tokens, query=query)

    def top(
        self,
        trunk: Tokens,
        task: int | None = None,
        mixture: Tensor | None = None,
        prompts: Tensor | None = None,
        among: Tensor | None = None,
    ) -> Tensor:
        """Run the rest and return features [batch, dim].

        The network is that of one task, or the mixture alpha [batch, tasks] (see `Selection`), with mixed prompts or
        with the prompts of each sample's task in `prompts` [batch]. With `among` [batch, k] a mixed weight gives alpha
        a gradient for a sample's own k tasks alone.
        """
        if trunk.features is not None:
            assert self.is_untouched
            return trunk.features
        if task is not None:
            self._use([task], trunk)
        even = mixture is not None and bool((mixture == mixture[0, 0]).all())
        selection = Selection(task, mixture, prompts, trunk.query, among, even)
        tokens = self._run(self._appended(trunk, selection), self.first_task_block, self.backbone.depth, selection)
        return self.backbone.pool(tokens)

    def tops(self, trunk: Tokens, tasks: Tensor) -> Tensor:
        """Run the rest for samples of several tasks and return features [batch, dim], each of its own task's network.

        What tasks share runs on the whole batch, and weights that they do not on each task's own rows.

        tasks: [batch], ascending; on the CPU, so that no GPU need be waited for.
        """
        if trunk.features is not None:
            return self.top(trunk, 0)
        segments = segments_of(tasks)
        selections = [
            Selection(task, query=None if trunk.query is None else trunk.query[rows]) for rows, task in segments
        ]
        grows = any(a.appended(selection) is not None for a in self._adaptations for selection in selections[:1])
        if len(segments) == 1 or grows:  # tasks may append different numbers of tokens
            return torch.cat([self.top(trunk[rows], task) for rows, task in segments])
        self._use([task for _, task in segments], trunk)
        tokens = trunk
        for block in range(self.first_task_block, self.backbone.depth):
            tokens = self.backbone.block(block, tokens, self._edit_of_each(block, segments, selections))
        return self.backbone.pool(tokens)

    def _use(self, tasks: Sequence[int], trunk: Tokens) -> None:
        for adaptation in self._adaptations:
            adaptation.use(tasks, trunk.x.device)

    def _edit_of_each(self, block: int, segments: list[Segment], selections: list[Selection]) -> BlockEdit:
        """Return the edit of a block for a batch of several tasks."""
        if not self.edited[block]:
            return UNEDITED
        apart = side_by_side([self._beside(block, one) for one in selections], [rows for rows, _ in segments])
        weights: dict[str, Tensor | MixedWeight | SegmentedWeight] = {}
        for site in self._sites(block):
            if site in self._task_weight_sites:
                weights[site.weight] = SegmentedWeight(segments, self._component(site))
            elif (weight := self._weight(site, selections[0])) is not None:
                weights[site.weight] = weight
        return replace(apart, weights=weights)

    def walk(self, stem: Tokens, task: int, query: Tensor | None = None) -> Iterator[tuple[int, Tokens, BlockEdit]]:
        """Yield each block of task `task`'s network above the stem: its number, its input tokens and its edit."""
        tokens, selection = self._prompted(stem, query), Selection(task, query=query)
        for index in range(self.first_edited_block, self.backbone.depth):
            edit = self._edit(index, selection)
            if index == self.first_task_block:
                tokens = self._appended(tokens, selection)
            yield index, tokens, edit
            tokens = self.backbone.block(index, tokens, edit)

    def _prompted(self, stem: Tokens, query: Tensor | None) -> Tokens:
        prompts = [p for a in self._adaptations if (p := a.prepended(query)) is not None]
        return self._appended(stem.prepend(torch.cat(prompts, 1)) if prompts else stem, None)

    def _appended(self, tokens: Tokens, selection: Selection | None) -> Tokens:
        for prompt in (p for a in self._adaptations if (p := a.appended(selection)) is not None):
            tokens = tokens.append(prompt.expand(len(tokens), -1, -1))
        return tokens

    def _run(self, tokens: Tokens, start: int, stop: int, selection: Selection | None) -> Tokens:
        for index in range(start, stop):
            tokens = self.backbone.block(index, tokens, self._edit(index, selection))
        return tokens

    def _edit(self, block: int, selection: Selection | None) -> BlockEdit:
        if not self.edited[block]:
            return UNEDITED
        weights = {s.weight: w for s in self._sites(block) if (w := self._weight(s, selection)) is not None}
        return replace(self._beside(block, selection), weights=weights)

    def _sites(self, block: int) -> list[Site]:
        return [Site(block, name) for name in self.backbone.weight_names]

    def _beside(self, block: int, selection: Selection | None) -> BlockEdit:
        """Return the edit of a block, but for its weights."""
        prefixes = [p for a in self._adaptations if (p := a.prefix(block, selection)) is not None]
        edited = [site for site in self._sites(block) if site in self._output_editors]
        outputs = {site.weight: partial(self._output, site, selection) for site in edited}
        gates = [gate for a in self._adaptations if (gate := a.gate(block, selection)) is not None]
        assert len(gates) < 2, "one gate on a block's prefix"
        return BlockEdit({}, joined(prefixes), outputs, gates[0] if gates else None)

    def _weight(self, site: Site, selection: Selection | None) -> Tensor | MixedWeight | None:
        """Return task t's weight, the mixture sum_j alpha_j W_j, or the shared weight; None if nothing edits it."""
        if site not in self._weight_editors:
            return None
        frozen: Tensor = self.backbone.linear(*site).weight
        if selection is None or selection.mixture is None or site not in self._task_weight_sites:
            weight = self._edited_weight(site, frozen, selection.task if selection else None)
            return None if weight is frozen else weight
        kept = (self, site) if selection.even else None
        return MixedWeight(selection.mixture, frozen.shape, self._component(site), selection.among, kept)

    def _component(self, site: Site) -> Callable[[int, slice], Tensor]:
        """Return what gives some rows of a task's weight."""
        frozen: Tensor = self.backbone.linear(*site).weight
        return lambda task, rows: self._edited_weight(site, frozen[rows], task, rows).detach()

    def _edited_weight(self, site: Site, weight: Tensor, task: int | None, rows: slice = ALL_ROWS) -> Tensor:
        for adaptation in self._weight_editors[site]:
            weight = adaptation.weight(site, weight, task, rows)
        return weight

    def merged_weights(self, task: int) -> dict[Site, Tensor]:
        """Return the weights [out, in] that stand in task `task`'s network in place of the frozen ones."""
        return {s: self._edited_weight(s, self.backbone.linear(*s).weight, task) for s in self._weight_editors}

    def _output(self, site: Site, selection: Selection | None, x: Tensor, y: Tensor) -> Tensor:
        for adaptation in self._output_editors[site]:
            y = adaptation.output(site, x, y, selection)
        return y

    @cached_property
    def edited(self) -> list[bool]:
        """For each block, whether an adaptation edits it."""
        touched = frozenset[int]().union(*(a.task_blocks | a.shared_blocks for a in self._adaptations))
        return [block in touched for block in range(self.backbone.depth)]
