"""How texts become inputs: each is turned into tokens, and batches are padded."""

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.errors import UserError, catchable
from softtf.files.tensor_form import TensorForm

PAD = -1
"""The padding of a batch of texts; it is not a token id, so that a text may hold any token."""


CHARACTERS = 16
"""Characters of a long text that are read first for each token to keep: over three times what tokens of words need."""
LONGEST = 2**20
"""The first characters of a long text that must hold all tokens to keep."""
UNSURE = 3
"""The last words before a cut in the characters, which may get other tokens than in the whole text."""


@dataclass(frozen=True)
class TextPreparation:
    """The preparation of texts for an encoder.

    Attributes:
        tokenizer: the model's tokenizer, of the tokenizers library, which adds the marks at both ends. It is set to
            truncate and not to pad.
        max_tokens: the most tokens of a text, marks included; longer texts are cut.
        augment: always False: texts are not augmented.
    """

    tokenizer: Any
    max_tokens: int
    augment: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)

    def reaching(self, max_tokens: int) -> "TextPreparation":
        """Return the same preparation with this `max_tokens`, and a tokenizer of its own if that is another number."""
        if max_tokens == self.max_tokens:
            return self
        return replace(self, tokenizer=deepcopy(self.tokenizer), max_tokens=max_tokens)

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        from tokenizers import __version__

        content = hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()
        return f"texts-1:{__version__}:{content}:{self.max_tokens}"

    @property
    def loaded_form(self) -> TensorForm:
        """The form of a text's token ids."""
        vocabulary = self.tokenizer.get_vocab_size()
        return TensorForm((range(1, self.max_tokens + 1),), (torch.int32,), 0, vocabulary - 1)

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return a text's token ids, int32 [tokens]; errors name `where`. An exemplar's ids are returned as they are.

        A text without tokens, such as an empty one with a tokenizer without marks, gets token 0. Of a long text only as
        much is read as the tokens to keep need.

        Raises:
            UserError: the input is not a text, has lone surrogates, or has too few words in its first LONGEST
                characters; or the tokenizer fails.
        """
        if isinstance(raw, Tensor) and raw.dtype == torch.int32 and raw.dim() == 1:
            return raw
        if not isinstance(raw, str):
            raise UserError(f"{where}: a text must be a string, not {type(raw).__name__}")
        if len(ids := self._ids(raw, where)) > self.max_tokens:
            raise UserError(f"{where}: the tokenizer makes {len(ids):,} tokens of the text; at most {self.max_tokens}")
        return torch.tensor(ids or [0], dtype=torch.int32)

    def _ids(self, text: str, where: str) -> list[int]:
        """Return the ids of the tokens to keep, from the whole text or from a beginning that gives the same ids."""
        length = CHARACTERS * self.max_tokens
        while length < len(text):
            beginning = encoded(self.tokenizer, text[:length], where)
            if _settled(beginning):
                return beginning.ids  # type: ignore[no-any-return]
            if length >= LONGEST:
                raise UserError(
                    f"{where}: the text has {len(text):,} characters, and the first {length:,} hold too few words"
                    f" for {self.max_tokens} tokens; leave out the parts that are not words"
                )
            length = min(8 * length, LONGEST)
        return encoded(self.tokenizer, text, where).ids  # type: ignore[no-any-return]

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return the same as `load_train`."""
        return self.load_train(raw, where)

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return the same as `batch`."""
        return self.batch(loaded, device)

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return token ids int64 [b, tokens] on `device`, padded with -1 to the longest."""
        return join([ids[None] for ids in loaded]).to(device, torch.int64)


def encoded(tokenizer: Any, text: str, where: str) -> Any:
    """Return the encoding of a text.

    Raises:
        UserError: the text has lone surrogates, or the tokenizer fails; the line names `where`.
    """
    try:
        with catchable():
            return tokenizer.encode(text)
    except TypeError:
        raise UserError(f"{where}: the text has a lone surrogate, not a character; leave it out") from None
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{where}: the tokenizer cannot read the text ({reason})") from None


def _settled(beginning: Any) -> bool:
    """Return whether the tokens to keep of a text's beginning are those of the whole text.

    Tokenizers split a text into words from left to right, and each word into tokens on its own. A cut changes only the
    last words. So it is enough if a few whole words follow the word of the last token to keep.
    """
    last = max((word for word in beginning.word_ids if word is not None), default=0)
    later = (word for part in beginning.overflowing for word in part.word_ids if word is not None)
    return any(word > last + UNSURE for word in later)


def join(batches: Sequence[Tensor]) -> Tensor:
    """Concatenate batches of prepared inputs; texts [b, tokens] are padded to the longest."""
    if batches[0].dim() != 2:
        return torch.cat(list(batches))
    longest = max(batch.shape[1] for batch in batches)
    return torch.cat([F.pad(batch, (0, longest - batch.shape[1]), value=PAD) for batch in batches])
