"""The settings of recipes, scales and modalities, as plain data; importing this loads no torch.

`softtf.recipes.recipes` applies it. Settings have dotted names; those of `learner` go to the methods that have them.

The paper says of its text runs no more than BERT-base, the data sets, the orders, and that it follows the protocol of
MBPA++ (de Masson d'Autume et al., 2019): 115,000 training and 7,600 test rows of each data set and one epoch. IDBR
(Huang et al., 2021) calls that "Full", and adds "Sampled": 2,000 training rows of each class. MBPA++ draws its rows at
random from data sets with equally many rows per class; here the shares of classes are exactly even. `text-order-4` to
`-7` are Full, `text-order-4-sampled` to `-7-sampled` are Sampled. Both train as DualPrompt does on images (batches of
24, rate 0.03) with MBPA++'s 128 tokens. Our own choices are the [CLS] token as the feature, and 3 epochs in Sampled
(IDBR has 4 to 1, chosen for each data set).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from softtf.config.names import BERT, BUNDLED, MINILM, VIT_B
from softtf.config.published import published_sgd
from softtf.recipes.methods import Settings

Scale = Literal["full", "mini"]
OWN_IMAGES, OWN_TEXTS = "own-images", "own-texts"  # for a folder, and for a file of rows, if no recipe is named


@dataclass(frozen=True)
class Recipe:
    """A run that softtf knows by name.

    Attributes:
        description: one line for a list of recipes.
        settings: what differs from the defaults of `RunConfig`.
        texts: whether its data are texts.
        own_file: whether it is for one file of the user's, which also divides it into tasks.
        kinds: by kind of learner, what differs at any scale.
        wide: at full scale, by kind of learner, what differs from PRESETS.
    """

    description: str
    settings: Settings
    texts: bool = False
    own_file: bool = False
    kinds: Mapping[str, Settings] = field(default_factory=dict)
    wide: Mapping[str, Settings] = field(default_factory=dict)


def _data(source: str | None, num_tasks: int | None, **more: Any) -> dict[str, Any]:
    """Return the settings of a stream; source None: the user must give it; num_tasks None: the data tell it."""
    values = {"source": source, "num_tasks": num_tasks, **more}
    return {f"stream.{name}": value for name, value in values.items()}


def _training(epochs: int, rate: float = 0.03) -> dict[str, Any]:
    return {"train.epochs": epochs, "train.batch_size": 24, "train.learning_rate": rate}


ON_VIT_B = {"backbone.name": VIT_B, "backbone.normalise": "unit"}
FEW_UNITS = {  # 8 MB a task, where little is to be told apart
    **dict.fromkeys(("block-ridge", "fly-cl"), {"learner.projection": 2000}),
    "klda": {"learner.projection": 800},
}
TO_THE_END = {"train.epochs": 20, "train.schedule": "cosine"}  # at mini scale, all classes at once: the loss settles
FEW_STEPS = {"learner.key_scale": 0.1}  # where steps are few, keys start short enough to turn in time

PROTOCOLS: dict[str, dict[str, Any]] = {  # what a recipe's name ends in, to the rows
    "": {"train_per_class": None, "train_per_dataset": 115_000, "test_per_dataset": 7600},
    "-sampled": {"train_per_class": 2000, "train_per_dataset": None, "test_per_dataset": 7600},
}
PROTOCOL_NAMES = {"": "Full", "-sampled": "Sampled"}
ORDERS = {  # METHOD section 5
    "text-order-4": ("agnews", "yelp", "amazon", "yahoo", "dbpedia"),
    "text-order-5": ("yelp", "yahoo", "amazon", "dbpedia", "agnews"),
    "text-order-6": ("dbpedia", "yahoo", "agnews", "amazon", "yelp"),
    "text-order-7": ("yelp", "agnews", "dbpedia", "amazon", "yahoo"),
}
ROWS = {"": "115,000 rows per data set, 1 epoch", "-sampled": "2,000 rows per class, 3 epochs"}
TEXT_EPOCHS = {"": 1, "-sampled": 3}

RECIPES = {
    "quickstart": Recipe(  # its exemplars are about the share of its data that 2,000 are of CIFAR-100's
        "5 tasks of 2 digits, bundled ViT; offline",
        {**_data("digits", 5), **_training(3), "train.augment": False, **FEW_STEPS, "learner.exemplars": 60},
        kinds=FEW_UNITS,
    ),
    "cifar100-10": Recipe(
        f"10-split CIFAR-100, {VIT_B}, 20 epochs", {**_data("cifar100", 10), **ON_VIT_B, **_training(20)}
    ),
    "cifar100-10-blurry": Recipe(
        f"10-split CIFAR-100 in which classes come back: a tenth of each in other tasks, {VIT_B}, 20 epochs",
        {**_data("cifar100", 10, blurry=0.1), **ON_VIT_B, **_training(20)},
    ),
    "cifar100-20": Recipe(
        f"20-split CIFAR-100, {VIT_B}, 20 epochs", {**_data("cifar100", 20), **ON_VIT_B, **_training(20)}
    ),
    "tiny-imagenet-10": Recipe(
        f"10-split Tiny-ImageNet, {VIT_B}, 5 epochs", {**_data("tiny-imagenet", 10), **ON_VIT_B, **_training(5)}
    ),
    "imagenet-r-10": Recipe(
        f"10-split ImageNet-R, {VIT_B}, 50 epochs, E-prompt of 20",
        {**_data("imagenet-r", 10), **ON_VIT_B, **_training(50, 0.005), "learner.e_length": 20},
        wide={"l2p": {"learner.length": 30, "train.epochs": 50}},
    ),
    "cub200-5": Recipe(f"5-split CUB-200, {VIT_B}, 20 epochs", {**_data("cub200", 5), **ON_VIT_B, **_training(20)}),
    "omniglot-50": Recipe(
        "50 alphabets of Omniglot from a folder of parquet (--stream.source), bundled ViT, 5 epochs",
        {**_data(None, 50, task_column="alphabet", split_train="all"), **_training(5)},
    ),
    OWN_IMAGES: Recipe(
        "your own images from a folder (--stream.source), bundled ViT, 5 epochs",
        {**_data(None, None), **_training(5)},
    ),
    **{
        order + end: Recipe(
            f"{' '.join(sets)}, {BERT}, {PROTOCOL_NAMES[end]}: {ROWS[end]}",
            {
                **_data("hub", 5, datasets=sets, merge_labels=True, **rows),
                "backbone.name": BERT,
                "backbone.pooling": "cls",
                "train.epochs": TEXT_EPOCHS[end],
            },
            texts=True,
        )
        for end, rows in PROTOCOLS.items()
        for order, sets in ORDERS.items()
    },
    "quickstart-text": Recipe(
        f"5 tasks of docstrings of 2 modules, {MINILM}; offline",
        {
            **_data("docstrings", 5, train_per_class=40, test_per_class=12),
            **{"backbone.name": MINILM, "backbone.max_tokens": 48, "backbone.pooling": "mean", "train.epochs": 3},
        },
        texts=True,
        kinds=FEW_UNITS,
    ),
    OWN_TEXTS: Recipe(
        "your own texts: softtf run FILE.csv (or .tsv, .jsonl, .parquet); offline encoder, 5 epochs",
        {
            **_data(None, None, merge_labels=True),
            **{"backbone.name": MINILM, "backbone.pooling": "mean", "train.epochs": 5},
        },
        texts=True,
        own_file=True,
    ),
}

EVERY = "every method"
TRAIN_WHOLE = ("ft", "ewc", "lwf", "der++", "icarl", "bic", "der", "mbpa++", "idbr")  # the whole network
PRESETS: dict[str, dict[str, Settings]] = {  # by place, then by kind of learner, which comes after EVERY
    "wide": {  # ViT-B/16 and BERT-base at full scale
        # Adam at 2.8e-5 for a batch of 24: customary for ViT-B and BERT-base, not tried
        **dict.fromkeys(TRAIN_WHOLE, {"train.learning_rate": 3e-4}),
        "ranpac": {"learner.projection": 10_000},
        "ranpac-fsa": {"learner.projection": 10_000},
        "slca": {f"train.{name}": value for name, value in published_sgd(0.01, 128).items()},
        "tuna": {"train.epochs": 15},
        "coda-prompt": {  # published: Adam at 1e-3 for batches of 128
            **{"train.batch_size": 128, "train.learning_rate": 2e-3, "train.schedule": "cosine"},
            "train.clip_norm": None,
        },
        # published: the prefixes' rate is 0.03, as in the recipes; it falls to a tenth after 30 of 50 epochs
        **dict.fromkeys(
            ("hide-prompt", "norga"), {"train.batch_size": 128, "train.epochs": 50, "train.schedule": "cosine"}
        ),
        "idbr": {  # published: AdamW at 3e-5 for batches of 8, whose rate climbs for 1,000 steps and then stays
            "train.batch_size": 8,
            "train.learning_rate": 3e-5 * 256 / 8,
            "train.optimizer": "adamw",
            "train.weight_decay": 0.01,
            "train.warmup": 1000,
            "train.clip_norm": None,
        },
    },
    "wide, images": {"l2p": {"train.batch_size": 16, "train.epochs": 5}},
    "six layers": {EVERY: FEW_STEPS},
    "mini, images": {
        EVERY: {
            **{"stream.train_per_class": 100, "stream.test_per_class": 50, "backbone": {"name": BUNDLED}},
            **{"train.epochs": 3, **FEW_STEPS},
        },
    },
    "mini, texts": {  # with a few dozen steps and a hundredth of its texts, MBPA++ and IDBR would hardly replay
        EVERY: {
            **{"stream.train_per_class": 40, "stream.train_per_dataset": None, "train.epochs": 3},
            "backbone": {"name": MINILM, "max_tokens": 64, "pooling": "mean"},
        },
        "mbpa++": {"learner.replay_every": 5},
        "idbr": {"learner.replay_every": 3, "learner.share": 0.1},
    },
    "mini, data sets": {EVERY: {"stream.test_per_dataset": 140}},
    "mini, own texts": {EVERY: {"stream.test_per_class": 140}},
}
WIDTHS = {BUNDLED: 192, MINILM: 384}  # of the small backbones: a quarter of ViT-B/16's and half of BERT-base's
ON_SMALL = {"lora": {"learner.adapt.init": "lora"}}  # by kind of adaptation, what differs on these
SIX_LAYERS = {  # where a method's layers of twelve are on an encoder of six: from 0 here, from 1 there
    (0, 1): (1,),
    (0, 1, 2, 3, 4): (1, 2, 3, 4),
    (2, 3, 4): (2, 3, 4),
    (9, 10, 11): (4, 5, 6),
    (10, 11): (5, 6),
    (11,): (6,),
}
