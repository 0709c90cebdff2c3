"""Captions as the X-VLM line of models reads them: cleaned, cut by words, BERT's uncased pieces, padded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from oddwatch.core import InputError
from oddwatch.encoders import weights
from oddwatch.encoders.sentence import WordPiece

LENGTH = 56
"""Words kept, and tokens after padding, on PAB (CMP; the average caption has 50 words)."""
SIGNS = ",.'!?\"()*#:;~"


def clean_caption(caption: str, words: int = LENGTH, blank_signs: bool = False) -> str:
    """``caption`` in lower case, without ``, . ' ! ? " ( ) * # : ; ~``, with blanks for ``-`` and ``/``, single
    blanks, and its first ``words`` words (Yang et al., CMP, ICCV 2025, public code). X2-VLM's code puts a blank where
    the other two delete a sign: ``blank_signs``. May be empty."""
    other = " " if blank_signs else None
    plain = caption.lower().translate({**{ord(c): other for c in SIGNS}, ord("-"): " ", ord("/"): " "})
    return " ".join(plain.replace("<person>", "person").split()[:words])


@lru_cache(maxsize=1)
def _pieces() -> WordPiece:
    # The packaged vocabulary is that of bert-base-uncased, which all these models were trained with.
    return WordPiece(weights.path("vocabulary").read_text(encoding="utf-8").split("\n")[:-1])


def token_ids(
    captions: Sequence[str], length: int = LENGTH, blank_signs: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, both (N, ``length``) int64: [CLS], the cleaned caption's pieces, [SEP], then zeros; the mask is 1
    on the first three.

    Raises:
        InputError: ``captions`` is one string, or one of them is not a string or has no word.
    """
    if isinstance(captions, str):
        raise InputError("captions", "expected a sequence of strings, got one string", "wrap it in a list")
    ids = np.zeros((len(captions), length), np.int64)
    mask = np.zeros_like(ids)
    for row, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise InputError(f"captions[{row}]", f"expected a string, got {type(caption).__name__}")
        plain = clean_caption(caption, length, blank_signs)
        if not plain:
            raise InputError(f"captions[{row}]", f"expected at least one word, got {caption!r}")
        found = _pieces().encode(plain, length)
        ids[row, : len(found)], mask[row, : len(found)] = found, 1
    return ids, mask
