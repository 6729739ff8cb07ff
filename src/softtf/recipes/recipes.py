"""The runs that softtf knows by name; every setting of them can be changed from the command line."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from softtf.backbones.load import BUNDLED, MINILM, BackboneSpec
from softtf.errors import UserError, unknown
from softtf.learners import IDBR, L2P, BlockRidge, RanPAC
from softtf.learners.fine_tuning import WHOLE_NETWORK
from softtf.learners.idbr import PUBLISHED as IDBR_PUBLISHED
from softtf.recipes.methods import adjusted, method_named, mini_epochs
from softtf.recipes.texts import BERT, TEXT_DESCRIPTIONS, TEXT_RECIPES, at_mini_scale, is_text, on_six_layers
from softtf.runs.config import RunConfig, StreamConfig
from softtf.streams import STREAMS
from softtf.training.config import TrainConfig

Scale = Literal["full", "mini"]
VIT_B = "vit_base_patch16_224.orig_in21k"
WIDE_RATE = 3e-4  # of the whole network, Adam at 2.8e-5 for a batch of 24: customary for ViT-B and BERT-base, not tried
BUDGETS_ARE_OF = 50_000  # training images: CIFAR-100's
FEW_UNITS = 2000  # of BlockRidge in the quickstart: 8 MB a task
RANPAC_PAPER = 10_000  # numbers of the random projection


def _paper_run(name: str, source: str, num_tasks: int, epochs: int, rate: float, e_length: int = 5) -> RunConfig:
    """Return the paper's DualPrompt settings on ViT-B/16 for one stream (METHOD section 5)."""
    learner = method_named("dual-prompt+soft-tf")
    return RunConfig(
        recipe=name,
        stream=StreamConfig(source, num_tasks),
        backbone=BackboneSpec(VIT_B, normalise="unit"),
        learner=adjusted(learner, e_length=e_length),
        train=TrainConfig(epochs=epochs, batch_size=24, learning_rate=rate),
    )


def quickstart() -> RunConfig:
    """Five tasks of two handwritten digits each on the bundled ViT: a minute, no download."""
    return RunConfig(
        recipe="quickstart",
        stream=StreamConfig("digits", 5),
        learner=method_named("dual-prompt+soft-tf"),
        train=TrainConfig(epochs=3, batch_size=24, augment=False),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "quickstart": quickstart,
    "cifar100-10": lambda: _paper_run("cifar100-10", "cifar100", 10, 20, 0.03),
    "cifar100-20": lambda: _paper_run("cifar100-20", "cifar100", 20, 20, 0.03),
    "tiny-imagenet-10": lambda: _paper_run("tiny-imagenet-10", "tiny-imagenet", 10, 5, 0.03),
    "imagenet-r-10": lambda: _paper_run("imagenet-r-10", "imagenet-r", 10, 50, 0.005, e_length=20),
    "cub200-5": lambda: _paper_run("cub200-5", "cub200", 5, 20, 0.03),
    "omniglot-50": lambda: replace(
        _paper_run("omniglot-50", "give --stream.source FOLDER", 50, 5, 0.03),
        stream=StreamConfig("give --stream.source FOLDER", 50, "alphabet", "all"),
        backbone=BackboneSpec(),
    ),
    "own-images": lambda: replace(
        _paper_run("own-images", "give --stream.source FOLDER", 5, 5, 0.03), backbone=BackboneSpec()
    ),
    **TEXT_RECIPES,
}

DESCRIPTIONS = {
    "quickstart": "5 tasks of 2 digits, bundled ViT; offline, about a minute",
    "cifar100-10": f"10-split CIFAR-100, {VIT_B}, 20 epochs",
    "cifar100-20": f"20-split CIFAR-100, {VIT_B}, 20 epochs",
    "tiny-imagenet-10": f"10-split Tiny-ImageNet, {VIT_B}, 5 epochs",
    "imagenet-r-10": f"10-split ImageNet-R, {VIT_B}, 50 epochs, E-prompt of 20",
    "cub200-5": f"5-split CUB-200, {VIT_B}, 20 epochs",
    "omniglot-50": "50 alphabets of Omniglot from a folder of parquet (--stream.source), bundled ViT, 5 epochs",
    "own-images": "5 tasks from your own image folder (--stream.source), bundled ViT, 5 epochs",
    **TEXT_DESCRIPTIONS,
}


def recipe_named(name: str, method: str | None = None, scale: Scale = "full") -> RunConfig:
    """Return a recipe, with another method or at mini scale if asked for.

    `mini`: 100 training and 50 test images a class, 3 epochs, the bundled ViT with its own normalisation (for texts see
    `softtf.recipes.texts`). There and in the quickstart the steps are few, so keys start short enough to turn in time
    (DualPrompt's key_scale). The quickstart's exemplars are 60, about the share of its data that 2,000 are of
    CIFAR-100's; BlockRidge has fewer units there, as little is to be told apart.

    Raises:
        UserError: there is no such recipe, method or scale.
    """
    config = at_scale(unscaled(name, method), scale)
    if name == "quickstart":
        config = replace(config, learner=adjusted(config.learner, key_scale=0.1, exemplars=60))
    if name.startswith("quickstart") and isinstance(config.learner, BlockRidge):
        config = replace(config, learner=replace(config.learner, projection=FEW_UNITS))
    return config


def unscaled(name: str, method: str | None = None) -> RunConfig:
    """Return a recipe with the method's own settings, but not yet what `at_scale` changes.

    A method's exemplars are those of CIFAR-100; of a smaller known data set they are the same share.

    Raises:
        UserError: there is no such recipe or method.
    """
    if name not in RECIPES:
        near = [r for r in RECIPES if r.startswith(name)] or list(RECIPES)
        raise unknown("recipe", name, near if name in STREAMS else RECIPES)
    config = RECIPES[name]()
    if method is not None:
        e_length = getattr(config.learner, "e_length", None)
        config = replace(config, method=method, learner=adjusted(method_named(method), e_length=e_length))
    config = replace(config, train=replace(config.train, **config.learner.training))
    budget: int | None = getattr(config.learner, "exemplars", None)
    if budget is not None and (known := STREAMS.get(config.stream.source)) is not None:
        budget = round(budget * min(1.0, known.num_train / BUDGETS_ARE_OF))
        config = replace(config, learner=adjusted(config.learner, exemplars=budget))
    return on_six_layers(config) if config.backbone.name == MINILM else config


def at_scale(config: RunConfig, scale: Scale) -> RunConfig:
    """Return the run as it is (`full`), or as small as `mini` says (see `recipe_named`).

    Of a known data set's exemplars (iCaRL, BiC, DER++) the same share is kept as of its training images.

    Raises:
        UserError: there is no such scale.
    """
    if scale == "full":
        return _on_wide(config) if config.backbone.name in (VIT_B, BERT) else config
    if scale != "mini":
        raise UserError(f"scale {scale!r} is neither full nor mini")
    if is_text(config):
        return at_mini_scale(config)
    exemplars: int | None = getattr(config.learner, "exemplars", None)
    known = STREAMS.get(config.stream.source)
    if exemplars is not None and known is not None:
        exemplars = round(exemplars * min(1.0, 100 * known.num_classes / known.num_train))
    return replace(
        config,
        stream=replace(config.stream, train_per_class=100, test_per_class=50),
        backbone=BackboneSpec(BUNDLED),
        learner=adjusted(config.learner, key_scale=0.1, exemplars=exemplars),
        train=replace(config.train, epochs=mini_epochs(config.learner)),
    )


def _on_wide(config: RunConfig) -> RunConfig:
    """Return the run with what its method has on ViT-B or BERT.

    That is RanPAC's size, FT's rate, IDBR's optimizer, L2P's batches and epochs.
    """
    if isinstance(config.learner, RanPAC):
        config = replace(config, learner=replace(config.learner, projection=RANPAC_PAPER))
    if config.learner.training is WHOLE_NETWORK:
        config = replace(config, train=replace(config.train, learning_rate=WIDE_RATE))
    if isinstance(config.learner, IDBR):
        config = replace(config, train=replace(config.train, **IDBR_PUBLISHED))
    if isinstance(config.learner, L2P) and not is_text(config):
        config = replace(config, train=replace(config.train, batch_size=16))
        if config.recipe == "imagenet-r-10":
            config = replace(config, learner=adjusted(config.learner, length=30))
        else:
            config = replace(config, train=replace(config.train, epochs=5))
    return config
