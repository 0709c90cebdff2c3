"""Sentence vectors: all-MiniLM-L6-v2 (int8 weights) with its own WordPiece."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import InputError
from oddwatch.encoders import weights

MOST_TOKENS = 256
LONGEST_WORD = 100
_KEPT_SPACE = "\t\n\r"
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """BERT's uncased tokenizer: clean, lower-case, strip accents, split on space, punctuation and CJK
    signs, then the longest known pieces from the left (Wu et al. 2016, as in Devlin et al. 2019)."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.ids = {piece: i for i, piece in enumerate(vocabulary)}
        names = ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
        self.unknown, self.first, self.last, self.mask = (self.ids[p] for p in names)

    def words(self, text: str) -> list[str]:
        """The words and signs of ``text``, lower-cased, without accents."""
        spaced = "".join(_spaced(c) for c in text)
        plain = unicodedata.normalize("NFD", spaced)
        lowered = "".join(c for c in plain if unicodedata.category(c) != "Mn").lower()
        return "".join(f" {c} " if _is_punctuation(c) else c for c in lowered).split()

    def pieces(self, word: str) -> list[int]:
        """Ids of one word's pieces; a word that cannot be spelt, or of over 100 characters, is one [UNK]."""
        if len(word) > LONGEST_WORD:
            return [self.unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = self.ids.get(prefix + word[start:end])
                if piece is not None:
                    found.append(piece)
                    start = end
                    break
            else:
                return [self.unknown]
        return found

    def encode(self, text: str, most: int = MOST_TOKENS) -> list[int]:
        """Ids of ``text`` between [CLS] and [SEP], cut to ``most`` in all."""
        found: list[int] = []
        for word in self.words(text):
            found += self.pieces(word)
            if len(found) > most - 2:
                break
        return [self.first, *found[: most - 2], self.last]


def _spaced(c: str) -> str:
    if c in _KEPT_SPACE:
        return " "
    point, category = ord(c), unicodedata.category(c)
    if point in (0, 0xFFFD) or category.startswith("C"):
        return ""
    if category == "Zs":
        return " "
    return f" {c} " if any(a <= point <= b for a, b in _CJK) else c


def _is_punctuation(c: str) -> bool:
    point = ord(c)
    signs = 33 <= point <= 47 or 58 <= point <= 64 or 91 <= point <= 96 or 123 <= point <= 126
    return signs or unicodedata.category(c).startswith("P")


@lru_cache(maxsize=1)
def _wordpiece() -> WordPiece:
    return WordPiece(weights.path("vocabulary").read_text(encoding="utf-8").split("\n")[:-1])


class SentenceEncoder:
    """all-MiniLM-L6-v2: mean of the token vectors, scaled to unit length. Sentences of one length (in
    tokens) share a batch, so nothing is padded. English only; negation is not in the vector."""

    dim = 384

    def __init__(
        self,
        threads: int | None = None,
        device: str = "auto",
        batch: int = 16,
        model: str | Path = "sentences",
    ) -> None:
        if batch < 1:
            raise InputError("batch", f"expected 1 or more, got {batch}")
        self.batch = batch
        from oddwatch.encoders.session import session

        self._session: Any = session(weights.path(model), threads, device)
        self._wordpiece = _wordpiece()
        self.id = "all-MiniLM-L6-v2-int8" if str(model) == "sentences" else f"sentences:{Path(model).name}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (N, 384) float32 of ``texts``; each is cut at 256 tokens. No texts give (0, 384).

        Raises:
            InputError: ``texts`` is one string, or holds something else than strings.
        """
        out = np.empty((len(texts), self.dim), np.float32)
        for at, tokens in self._batches(texts, MOST_TOKENS):
            mean = tokens.mean(axis=1)
            out[at] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return out

    def tokens(self, texts: Sequence[str], most: int = MOST_TOKENS) -> list[np.ndarray]:
        """The token vectors (T, 384) float32 of each text, [CLS] first, cut at ``most`` tokens. Raises as :meth:`encode`."""
        out: list[np.ndarray] = [np.empty((0, self.dim), np.float32)] * len(texts)
        for at, tokens in self._batches(texts, most):
            for i, row in zip(at, tokens, strict=True):
                out[i] = row
        return out

    def blanked(self, parts: Sequence[str], most: int = MOST_TOKENS) -> tuple[np.ndarray, list[int]]:
        """Token vectors (T, 384) of a sentence with a [MASK] between each of its ``parts`` and the next, and the masks'
        places. Masks beyond ``most`` tokens are not among the places. Raises InputError if ``parts`` is one string."""
        if isinstance(parts, str):
            raise InputError("parts", "expected a sequence of strings, got one string", "wrap it in a list")
        ids = [self._wordpiece.first]
        places = []
        for n, part in enumerate(parts):
            if n:
                places.append(len(ids))
                ids.append(self._wordpiece.mask)
            ids += [piece for word in self._wordpiece.words(part) for piece in self._wordpiece.pieces(word)]
        ids = [*ids[: most - 1], self._wordpiece.last]
        return self._run(np.array([ids], np.int64))[0], [p for p in places if p < len(ids) - 1]

    def _batches(self, texts: Sequence[str], most: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """Places of texts of one length (in tokens), and their token vectors (B, T, 384)."""
        if isinstance(texts, str):
            raise InputError("texts", "expected a sequence of strings, got one string", "wrap it in a list")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"texts[{i}]", f"expected a string, got {type(text).__name__}")
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for i, text in enumerate(texts):
            ids = self._wordpiece.encode(text, most)
            by_length.setdefault(len(ids), []).append((i, ids))
        for group in by_length.values():
            for start in range(0, len(group), self.batch):
                part = group[start : start + self.batch]
                yield [i for i, _ in part], self._run(np.array([ids for _, ids in part], np.int64))

    def _run(self, ids: np.ndarray) -> np.ndarray:
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        found: np.ndarray = self._session.run(None, feeds)[0]
        return found
