"""Models of the transformers library as backbones: found by name or folder, built by their family.

A family is one line in FAMILIES: a `model_type` of transformers' configurations, and the function that turns a `Source`
into a backbone. transformers is imported only when a model is loaded.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from softtf.backbones.base import Backbone
from softtf.backbones.bert import Bert, Pooled, check_form
from softtf.backbones.clip import ClipImage, Tokenize, byte_ids
from softtf.backbones.clip_settings import image_settings
from softtf.backbones.from_timm import load_saved
from softtf.backbones.spec import LOCAL, BackboneSpec, model_name, random_name
from softtf.backbones.timm_weights import commit_of
from softtf.backbones.transformers_files import Source, ask, no_code, offline_folder
from softtf.config.names import BERT, CLIP_VIT_B, MINILM
from softtf.errors import UserError
from softtf.files.plain_json import read_object
from softtf.streams.texts import TextPreparation, encoded

CLIP_MODELS = {CLIP_VIT_B: 16, "openai/clip-vit-base-patch32": 32}  # all else is transformers' default
TEXT_MODELS = (MINILM, BERT, "roberta-base", "xlm-roberta-base", "camembert-base", "distilbert-base-uncased")


def load_from_transformers(spec: BackboneSpec) -> Backbone:
    """Build a frozen backbone from a model of transformers.

    Raises:
        UserError: the model cannot be loaded, its family is not supported, or a setting does not fit.
    """
    from transformers import BertConfig, CLIPConfig

    name, random = model_name(spec), random_name(spec)
    place = str(offline_folder()) if name == MINILM else name
    if random and name == BERT:
        config: Any = BertConfig()
    elif random and name in CLIP_MODELS:
        config = CLIPConfig(vision_config={"patch_size": CLIP_MODELS[name]})
    elif random and not os.path.isdir(place):
        raise UserError(
            f"random weights are for names of timm, {BERT!r}, {', '.join(CLIP_MODELS)} and local folders,"
            f" not for {name!r}"
        )
    else:
        return _found(Source(spec, place, None, random, spec.revision))
    return FAMILIES[config.model_type](Source(spec, place, config, random))


def _found(source: Source) -> Backbone:
    """Build the model that a config.json describes; its family is checked before anything else is read.

    Raises:
        UserError: as for `load_from_transformers`, or the config asks for other code.
    """
    from transformers import CONFIG_MAPPING

    spec = source.spec
    file = _config(source)
    whole = no_code(file)
    source = replace(source, revision=commit_of(file))
    kind = whole.get("model_type", "timm_wrapper" if isinstance(whole.get("architecture"), str) else None)
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(
            f"backbone {spec.name!r} is a {kind!r} model; softtf knows {', '.join(WITH_POOLER)}, electra,"
            " distilbert, clip and the plain Vision Transformers of timm"
        )
    if kind != "timm_wrapper":
        config = ask(spec.name, lambda: CONFIG_MAPPING[kind].from_dict(whole))
        config._name_or_path = source.place
        source = replace(source, config=config)
    backbone = FAMILIES[kind](source)
    backbone.revision = source.revision
    return backbone


def _config(source: Source) -> Path:
    """Return the config.json of a model.

    Raises:
        UserError: there is none, or no such folder.
    """
    spec, place = source.spec, source.place
    if not os.path.isdir(place) and (LOCAL in spec.name or place.startswith((".", "~")) or os.path.isabs(place)):
        raise UserError(f"backbone {spec.name!r}: there is no folder {place!r}")
    file = ask(spec.name, lambda: source.file("config.json"))
    if file is None:  # so it is of a folder
        raise UserError(
            f"backbone {spec.name!r}: folder {place!r} has no config.json; give the folder of a model of transformers"
            " or timm, with config.json and model.safetensors"
        )
    return file


def _text_encoder(source: Source) -> Backbone:
    spec, config = source.spec, source.config
    spec.refuse("weights", "image_size", "normalise")
    check_form(config, spec.name)
    pooled = _pooling(source)
    has_pooler = config.model_type in WITH_POOLER
    if pooled == "pooler" and not has_pooler:
        raise UserError(f"backbone {spec.name!r} has no pooling layer; choose pooling cls or mean")
    model = source.model(**({"add_pooling_layer": pooled == "pooler"} if has_pooler else {}))
    tokenizer = source.tokenizer()
    _check_tokens(tokenizer, model.get_input_embeddings().num_embeddings, spec.name)
    return Bert(model, spec.name, TextPreparation(tokenizer, spec.max_tokens), pooled)


def _check_tokens(tokenizer: Any, known: int, name: str) -> None:
    """Refuse a tokenizer with tokens, or marks round a text, that the model does not know."""
    marks = encoded(tokenizer, "", f"backbone {name!r}").ids
    if (largest := max([*tokenizer.get_vocab().values(), *marks], default=0)) >= known:
        raise UserError(f"backbone {name!r}: its tokenizer has token {largest}, its model only 0 to {known - 1}")


def _pooling(source: Source) -> Pooled:
    """Return the spec's pooling; for `auto`, `mean` if the folder is that of a sentence encoder with it, else `cls`."""
    if source.spec.pooling != "auto":
        return source.spec.pooling
    file = Path(source.place) / "1_Pooling" / "config.json"
    return "mean" if file.is_file() and read_object(file).get("pooling_mode_mean_tokens") else "cls"


def _clip(source: Source) -> Backbone:
    spec, size = source.spec, source.config.vision_config.image_size
    spec.refuse("weights", "max_tokens", "pooling")
    if spec.image_size not in (None, size):
        raise UserError(f"backbone {spec.name!r} takes images of {size} pixels, not {spec.image_size}")
    if source.random and source.place in CLIP_MODELS:
        vocabulary = source.config.text_config.vocab_size
        tokenize: Tokenize = partial(byte_ids, start=vocabulary - 2, end=vocabulary - 1)
        settings: Any = {}
    else:
        tokenizer = source.tokenizer()
        tokenizer.no_truncation()
        tokenizer.no_padding()
        _check_tokens(tokenizer, source.config.text_config.vocab_size, spec.name)
        tokenize = partial(_ids, tokenizer)
        settings = source.processor()
    mean, std, short = image_settings(settings, size, spec.name)
    if spec.normalise == "unit":
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return ClipImage(source.model(), tokenize, spec.name, mean, std, short)


def _timm(source: Source) -> Backbone:
    weights = None if source.random else ask(source.spec.name, lambda: source.file("model.safetensors"))
    return load_saved(source.spec, _config(source), weights)


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [encoded(tokenizer, text, repr(text)).ids for text in texts]


WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert", "ernie", "data2vec-text")
FAMILIES: dict[str, Callable[[Source], Backbone]] = {
    **dict.fromkeys((*WITH_POOLER, "electra", "distilbert"), _text_encoder),
    "clip": _clip,
    "timm_wrapper": _timm,  # transformers' name for a model that timm saved
}
