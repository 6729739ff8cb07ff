"""A tiny BERT of random weights and a tokenizer of bytes: the text side of `support.tiny`."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel

from softtf.backbones.bert import Bert, Pooled
from softtf.streams import Examples, TextPreparation
from softtf.streams.texts import PAD
from support.tiny import task_labels

MARKS = ("[PAD]", "[CLS]", "[SEP]")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "vocab_size": 300,
    "pad_token_id": 0,
}

DISTIL = {"dim": 32, "n_layers": 4, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 40, "vocab_size": 300}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES),
    "roberta": ("Roberta", SIZES | {"pad_token_id": 1}),
    "xlm-roberta": ("XLMRoberta", SIZES | {"pad_token_id": 1}),
    "camembert": ("Camembert", SIZES | {"pad_token_id": 1}),
    "electra": ("Electra", SIZES | {"embedding_size": 16}),
    "distilbert": ("DistilBert", DISTIL),
    "ernie": ("Ernie", SIZES),
    "data2vec-text": ("Data2VecText", SIZES | {"pad_token_id": 1}),
}


def byte_tokenizer() -> Tokenizer:
    """One token a byte, between [CLS] and [SEP]."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*MARKS, *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $0 [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def noisy(model: Any) -> Any:
    """Every parameter noise, biases and norms too, so that one that is forgotten shows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.2)
    return model


def tiny_bert(pooling: Pooled = "cls", max_tokens: int = 24) -> Bert:
    """In float64."""
    model = noisy(BertModel(BertConfig(**SIZES), add_pooling_layer=pooling == "pooler"))
    backbone = Bert(model, "tiny-bert", TextPreparation(byte_tokenizer(), max_tokens), pooling).double()
    backbone.compute_dtype = torch.float64
    return backbone


def token_ids(n: int, seed: int = 0) -> Tensor:
    """Prepared texts [n, tokens] of 2 to 12 tokens, the first the longest."""
    ids = torch.randint(3, 259, (n, 12), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 1
    for row, length in enumerate((12, 5, 2, 9, 7, 12, 3)[i % 7] for i in range(n)):
        ids[row, length:] = PAD
    return ids


def texts(n: int, seed: int = 0) -> np.ndarray:
    """Texts [n] of 1 to 40 letters, of which the preparation takes about 20; objects, to be indexed like images."""
    draw = random.Random(seed)
    found = ["".join(draw.choices("abcdefgh ÿ🙂", k=draw.choice((1, 5, 12, 40)))) for _ in range(n)]
    return np.array(found, dtype=object)


def text_task(task: int, per_class: int = 4, seed: int = 0) -> Examples:
    """`tiny.task_data` with texts of noise."""
    labels = [label for label in task_labels(task) for _ in range(per_class)]
    return Examples(list(texts(len(labels), 100 * seed + task)), labels, f"task {task + 1}")


def model_of(family: str) -> Any:
    name, settings = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**settings)
    return noisy(getattr(transformers, f"{name}Model")(config)).eval()


def save_model(folder: Path, family: str = "bert") -> Path:
    """A folder as transformers leaves it, with the tokenizer of bytes."""
    model_of(family).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), pad_token="[PAD]").save_pretrained(folder)
    return folder
