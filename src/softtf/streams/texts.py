"""How texts become inputs: cut into tokens one by one, padded in batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.errors import UserError

PAD = -1
"""What stands behind a text in a batch with longer ones; no token's id, so that a text may hold any token."""


CHARACTERS = 16
"""So many for each token that is wanted are read of a text first: more than three times what those of words need."""
LONGEST = 2**20
"""Characters in which all tokens that are kept must be found, where a text has more."""
UNSURE = 3
"""Words before the place where a text is cut that may be split in another way than in the whole text."""


@dataclass(frozen=True)
class TextPreparation:
    """The preparation of texts for an encoder.

    Attributes:
        tokenizer: the model's own, of the tokenizers library; it puts the marks at both ends. It is set to cut texts
            and to pad none.
        max_tokens: longer texts are cut to so many, marks included.
        augment: always False; nothing about texts is drawn at random.
    """

    tokenizer: Any
    max_tokens: int
    augment: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        from tokenizers import __version__

        content = hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()
        return f"texts-1:{__version__}:{content}:{self.max_tokens}"

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return a text's token ids, int32 [tokens]; errors name `where`. An exemplar's are returned as they are.

        Where the tokenizer gives no token, as without marks it does for an empty text, token 0 stands for it.

        Of a long text no more is read than settles the tokens that are kept.

        Raises:
            UserError: this is no text, it has characters that no text has (halves of pairs), or its first LONGEST
                characters hold too few words.
        """
        if isinstance(raw, Tensor) and raw.dtype == torch.int32 and raw.dim() == 1:
            return raw
        if not isinstance(raw, str):
            raise UserError(f"{where}: a text is needed, a string, not {type(raw).__name__}")
        try:
            return torch.tensor(self._ids(raw, where) or [0], dtype=torch.int32)
        except TypeError:
            raise UserError(f"{where}: the text has a lone surrogate, which is no character; leave it out") from None

    def _ids(self, text: str, where: str) -> list[int]:
        """Return the ids of the tokens kept: of the whole text, or of a beginning that has the same ones."""
        length = CHARACTERS * self.max_tokens
        while length < len(text):
            beginning = self.tokenizer.encode(text[:length])
            if _settled(beginning):
                return beginning.ids  # type: ignore[no-any-return]
            if length >= LONGEST:
                raise UserError(
                    f"{where}: the text has {len(text):,} characters, of which the first {length:,} hold too few words"
                    f" for {self.max_tokens} tokens; leave out what is no text of words"
                )
            length = min(8 * length, LONGEST)
        return self.tokenizer.encode(text).ids  # type: ignore[no-any-return]

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


def _settled(beginning: Any) -> bool:
    """Say whether the tokens kept of a text's beginning are those of the whole text.

    Tokenizers split a text into words from left to right, and each word into tokens by itself; where the text is cut
    can change the last words only. So it is enough that some whole words follow the one that the last token kept is of.
    """
    last = max((word for word in beginning.word_ids if word is not None), default=0)
    later = (word for part in beginning.overflowing for word in part.word_ids if word is not None)
    return any(word > last + UNSURE for word in later)


def join(batches: Sequence[Tensor]) -> Tensor:
    """Put batches of prepared inputs behind one another; texts [b, tokens] are padded to the longest."""
    if batches[0].dim() != 2:
        return torch.cat(list(batches))
    longest = max(batch.shape[1] for batch in batches)
    return torch.cat([F.pad(batch, (0, longest - batch.shape[1]), value=PAD) for batch in batches])
