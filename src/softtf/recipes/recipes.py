"""Recipes by name, with another method or at another scale: `softtf.recipes.presets` applied to `RunConfig`."""

import os
from dataclasses import fields, is_dataclass, replace
from typing import Any

from softtf.adaptations.base import parse_layers
from softtf.config.dotted import with_settings
from softtf.config.names import BERT, MINILM, VIT_B
from softtf.config.tree import from_dict, to_dict
from softtf.errors import UserError, unknown
from softtf.learners import LearnerSpec
from softtf.recipes.methods import Settings, known_methods
from softtf.recipes.presets import EVERY, ON_SMALL, OWN_IMAGES, PRESETS, RECIPES, SIX_LAYERS, WIDTHS, Scale
from softtf.runs.config import RunConfig
from softtf.streams import STREAMS

CIFAR_100 = 50_000  # training images; methods' exemplars are those of CIFAR-100
EXEMPLARS = "learner.exemplars"


def method_named(name: str) -> LearnerSpec:
    """Return a method's learner spec.

    Raises:
        UserError: there is no method of that name, or its class has a setting without a default.
    """
    method = known_methods().get(name)
    if method is None:
        raise unknown("method", name, known_methods(), imports=True)
    try:
        spec = from_dict(LearnerSpec, {"kind": method.kind}, method.kind)  # type: ignore[type-abstract]
    except UserError as error:
        raise UserError(f"method {name!r}: {error}; give each setting of its class a default") from None
    return with_settings(spec, method.settings)


def recipe_named(name: str, method: str | None = None, scale: Scale = "full") -> RunConfig:
    """Return a recipe, with another method or at mini scale if asked for.

    `mini` fits two CPU cores. Images: 100 training and 50 test images per class and the bundled ViT with its own
    normalisation. Texts: 40 training rows per class, 140 test rows per data set, 64 tokens and the offline encoder of
    six layers. Both: 3 epochs.

    Raises:
        UserError: there is no such recipe, method or scale.
    """
    return at_scale(unscaled(name, method), scale)


def run_of_file(settings: Any, where: str) -> RunConfig:
    """Return the run that a file's settings describe.

    Settings that the file leaves out are those of its recipe with its method, as on the command line. Without `recipe`
    that is the quickstart; without `method` it is the learner's kind. Beside a kind, `method` may be any name for
    tables.

    Args:
        settings: plain values, as read from YAML.
        where: the source, for messages.

    Raises:
        UserError: a name is unknown, a value is wrong, or method and learner are not the same.
    """
    if not isinstance(settings, dict):
        return from_dict(RunConfig, settings, where)
    recipe, method, learner = settings.get("recipe", RunConfig.recipe), settings.get("method"), settings.get("learner")
    kind = learner.get("kind") if isinstance(learner, dict) else None
    names = (recipe, method or "", kind or "")
    if {field.name for field in fields(RunConfig)} <= settings.keys() or not all(type(name) is str for name in names):
        # Whole, as a run's own file is; or the message says what is wrong.
        return from_dict(RunConfig, settings, where)
    known = known_methods()
    config = recipe_named(recipe, kind if kind in known and method not in known else method)
    if method in known and kind and kind != config.learner.kind:
        raise UserError(
            f"{where}: the learner of method {method!r} is {config.learner.kind!r}, but learner.kind is {kind!r}; leave"
            " one of them out"
        )
    return from_dict(RunConfig, _laid_over(to_dict(config), settings), where)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings in which `above` replaces `below`; a part with another kind is replaced as a whole."""
    laid = dict(below)
    for name, value in above.items():
        under = below.get(name)
        if isinstance(under, dict) and isinstance(value, dict) and value.get("kind") in (None, under.get("kind")):
            value = _laid_over(under, value)
        laid[name] = value
    return laid


def unscaled(name: str, method: str | None = None) -> RunConfig:
    """Return a recipe with the method's own settings, but not yet what `at_scale` changes.

    A method's number of exemplars is for CIFAR-100; a smaller known data set gets the same share.

    Raises:
        UserError: there is no such recipe or method.
    """
    if name not in RECIPES:
        if os.path.isdir(name):
            raise UserError(f"{name!r} is a folder, not a recipe; for its images write {OWN_IMAGES} --source {name}")
        near = [r for r in RECIPES if r.startswith(name)] or list(RECIPES)
        raise unknown("recipe", name, near if name in STREAMS else RECIPES)
    method = method or RunConfig.method
    config = RunConfig(recipe=name, method=method, learner=method_named(method))
    config = _changed(config, {**RECIPES[name].settings, **_own_training(config)})
    if (known := STREAMS.get(config.stream.source or "")) is not None:
        config = _with_exemplars(config, known.num_train / CIFAR_100)
    config = _changed(config, RECIPES[name].kinds.get(config.learner.kind, {}))
    return _on_six_layers(config) if config.backbone.name == MINILM else config


def at_scale(config: RunConfig, scale: Scale) -> RunConfig:
    """Return the run as it is (`full`), or as small as `mini` says (see `recipe_named`).

    Exemplars are scaled with the training examples. On a small backbone LoRA has its own start and scale, 1, because 8,
    as published with Soft-TF, falls apart there (docs/results-details.md). A rank above the backbone's width is scaled
    with the width: it would train more parameters than the matrix beside it has.

    Raises:
        UserError: there is no such scale.
    """
    config = _scaled(config, scale)
    adapt, width = getattr(config.learner, "adapt", None), WIDTHS.get(config.backbone.name)
    if width is None:
        return config
    rank: int = getattr(adapt, "rank", 0)
    narrower = {"learner.adapt.rank": rank // 4} if rank > width else {}
    return with_settings(config, {**ON_SMALL.get(getattr(adapt, "kind", ""), {}), **narrower})


def _scaled(config: RunConfig, scale: Scale) -> RunConfig:
    texts = is_text(config)
    if scale == "full":
        if config.backbone.name not in (VIT_B, BERT):
            return config
        config = _preset(config, "wide", *([] if texts else ["wide, images"]))
        return _changed(config, RECIPES[config.recipe].wide.get(config.learner.kind, {}))
    if scale != "mini":
        raise UserError(f"scale {scale!r} is neither full nor mini")
    if texts:
        config = _with_exemplars(config, 40 / 2000)  # rows per class, of which Sampled has 2,000
        tests = "mini, data sets" if config.stream.datasets else "mini, own texts"
        return _preset(_on_six_layers(config), "mini, texts", tests)
    if (known := STREAMS.get(config.stream.source or "")) is not None:
        config = _with_exemplars(config, 100 * known.num_classes / known.num_train)
    return _preset(config, "mini, images")


def is_text(config: RunConfig) -> bool:
    """Return whether a run's recipe is about texts."""
    return config.recipe in RECIPES and RECIPES[config.recipe].texts


def _preset(config: RunConfig, *places: str) -> RunConfig:
    """Return the run with PRESETS applied. Settings that a learner declares are changed by its own row alone."""
    for place in places:
        rows, own = PRESETS[place], _own_training(config)
        common = {name: value for name, value in rows.get(EVERY, {}).items() if name not in own}
        config = _changed(config, {**common, **rows.get(config.learner.kind, {})})
    return config


def _changed(config: RunConfig, settings: Settings) -> RunConfig:
    """Return the run with settings changed; settings that its learner does not have are skipped."""
    known = {f"learner.{field.name}" for field in fields(config.learner)}
    return with_settings(config, {k: v for k, v in settings.items() if not k.startswith("learner.") or k in known})


def _own_training(config: RunConfig) -> dict[str, Any]:
    """Return the settings of training that the learner declares."""
    return {f"train.{name}": value for name, value in config.learner.training.items()}


def _with_exemplars(config: RunConfig, share: float) -> RunConfig:
    """Return the run with this share, at most 1, of its exemplars, unless its recipe sets their number."""
    count: int | None = getattr(config.learner, "exemplars", None)
    if count is None or EXEMPLARS in RECIPES[config.recipe].settings:
        return config
    return with_settings(config, {EXEMPLARS: max(1, round(count * min(1.0, share)))})


def _on_six_layers(config: RunConfig) -> RunConfig:
    """Return the run for the offline encoder of six layers: layers moved, and keys for few steps."""
    return _preset(replace(config, learner=_moved(config.learner)), "six layers")


def _moved(spec: Any) -> Any:
    """Return a learner's or an adaptation's spec with its layers moved as in SIX_LAYERS."""
    changes: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name.endswith("layers"):
            changes[field.name] = SIX_LAYERS.get(parse_layers(value), value)
        elif is_dataclass(value):
            changes[field.name] = _moved(value)
    return replace(spec, **changes)
