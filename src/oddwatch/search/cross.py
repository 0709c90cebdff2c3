"""The small cross-encoder: does this sentence fit this person? (ITM over an ITC gate, as in ALBEF, X-VLM and CMP.)

A sentence's frozen tokens ask, an entry's tokens answer: nine part tokens of the frozen picture encoder, made aware of
the pose by CMP's block (arXiv 2411.17776, eq. 3), and one token for each group of typed facts. Two layers of
self-attention, cross-attention and feed-forward lead to [CLS] and the two-class matching head. All of an entry is what
a gallery keeps of it, so no picture is opened. Trained on drawn twins only (``oddwatch train search``); run here in
numpy. The published systems use 230 million parameters over pixels; this one a million over frozen features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from oddwatch.core import UNKNOWN, Entry, Hit, InputError, ModelError, Query
from oddwatch.describe import match as matching
from oddwatch.describe.atoms import GROUPS, SCHEMA_ID, members
from oddwatch.describe.features import gains_of, geometry
from oddwatch.describe.witness import Blank, Fill
from oddwatch.search.cloze import Said
from oddwatch.search.fuse import reordered

FOLDER = Path(__file__).parent / "data"
MOST_TOKENS = 64
"""Word pieces of a sentence that are read."""
PART_TOKENS = (9, 384)
"""Shape of the part tokens that the packaged models keep of a person."""
SEEN_GROUPS = tuple(g for g in GROUPS if g != "person")
"""Groups of facts that become tokens; man, woman and child are never seen."""


class WordTokens(Protocol):
    """Sentences to the token vectors of each, (T, D) float32, that of [CLS] first; and a sentence with blanks between its
    parts to its vectors and the places of the blanks."""

    def tokens(self, texts: Sequence[str], most: int = ...) -> list[np.ndarray]: ...
    def blanked(self, parts: Sequence[str], most: int = ...) -> tuple[np.ndarray, list[int]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What is kept of N entries: part ``tokens`` (N, 9, 384) int8, pose ``geometry`` (N, G), facts ``p``, ``known`` (N, A)."""

    tokens: np.ndarray
    geometry: np.ndarray
    p: np.ndarray
    known: np.ndarray


def looks_of(entries: Sequence[Entry]) -> tuple[list[str], Looks]:
    """Ids and looks of those ``entries`` that have all of it: people indexed with the packaged models."""
    whole = [
        e for e in entries
        if e.kind == "person" and e.tokens is not None and e.tokens.shape == PART_TOKENS
        and e.facts is not None and e.facts.schema == SCHEMA_ID and e.views
    ]  # fmt: skip
    if not whole:
        return [], Looks(
            np.zeros((0, *PART_TOKENS), np.int8), np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0))
        )
    poses = np.array([geometry(e.views[0].person, ()) for e in whole], np.float32)
    facts = [e.facts for e in whole if e.facts is not None]
    p, known = np.array([f.p for f in facts]), np.array([f.known for f in facts])
    return [e.id for e in whole], Looks(np.array([e.tokens for e in whole]), poses, p, known)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Encoded looks: ``tokens`` (N, M, d), and as many unit ``vectors`` for the contrastive gate."""

    tokens: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """An encoded sentence: ``states`` (T, d), unit ``vectors`` (T, d) for the contrastive gate, and how much each word
    ``counts`` (T,) in it, which adds up to 1."""

    states: np.ndarray
    vectors: np.ndarray
    counts: np.ndarray


class CrossModel:
    """The network of ``arrays`` (names as in the training module's state), described by ``card``.

    Raises:
        ModelError: weights for another table of atoms, or of another form.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> None:
        if card.get("schema") != SCHEMA_ID:
            made = f"made for facts {card.get('schema')}, not {SCHEMA_ID}"
            raise ModelError(f"cross-encoder: {made} (train it again: oddwatch train search)")
        self.card = dict(card)
        if missing := {"heads", "layers", "pose", "facts"} - set(card):
            raise ModelError(f"cross-encoder: its card does not tell {', '.join(sorted(missing))}")
        self.heads, self.layers = int(card["heads"]), int(card["layers"])
        self.pose, self.facts = bool(card["pose"]), bool(card["facts"])
        self._w = {k: np.asarray(v, np.float32) for k, v in arrays.items()}
        self._groups = [np.array(members(g)) for g in SEEN_GROUPS]
        if not {"text.weight", "align.weight", "itm_out.weight"} <= set(self._w):
            raise ModelError("cross-encoder: not the weights of one (make some: oddwatch train search)")

    @classmethod
    def load(cls, path: str | Path) -> CrossModel:
        """The model in folder ``path``: ``cross.safetensors`` and its card ``cross.json``.

        Raises:
            ModelError: one of them is missing, damaged, or not its maker's.
        """
        import hashlib

        from safetensors.numpy import load

        try:
            blob = (Path(path) / "cross.safetensors").read_bytes()
            card = json.loads((Path(path) / "cross.json").read_text(encoding="utf-8"))
            arrays = load(blob)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: no cross-encoder could be read: {error}") from error
        except Exception as error:
            raise ModelError(f"{path}: damaged weights: {error}") from error
        told = card.get("blake2b") if isinstance(card, dict) else None
        if hashlib.blake2b(blob, digest_size=16).hexdigest() != told:
            raise ModelError(f"{path}: the weights are not those its card describes (train or copy again)")
        return cls(arrays, card)

    @property
    def id(self) -> str:
        """Names the weights."""
        return f"cross-encoder:{str(self.card.get('blake2b', 'untrained'))[:12]}"

    def text(self, tokens: np.ndarray) -> Read:
        """A sentence of frozen ``tokens`` (T, 384), encoded."""
        x = self._norm(self._linear(tokens[:MOST_TOKENS], "text"), "text_norm")
        counts = self._linear(x, "weight")[:, 0]
        counts = np.exp(counts - counts.max())
        return Read(x, _unit(x), counts / counts.sum())

    def looks(self, seen: Looks) -> Seen:
        """The encoded looks; :meth:`match` may be asked of them many times."""
        parts = self._linear(seen.tokens.astype(np.float32) * np.float32(1 / 127), "parts")
        parts = parts + self._w["place"]
        if self.pose:
            parts = self._pose_aware(parts, seen.geometry)
        if self.facts:
            parts = np.concatenate([parts, self._fact_tokens(seen.p, seen.known)], axis=1)
        y = self._norm(parts, "look_norm")
        return Seen(y, _unit(y @ self._w["align.weight"].T))

    def near(self, text: Read, seen: Seen) -> np.ndarray:
        """(N,) token-wise similarity, −1 to 1 (FILIP, arXiv 2111.07783): every word's best answer among a look's tokens,
        weighted by how much the word counts."""
        best = (seen.vectors @ text.vectors.T).max(axis=1)
        out: np.ndarray = best @ text.counts
        return out

    def match(self, text: Read, seen: Seen, prior: np.ndarray) -> np.ndarray:
        """(N,) log odds that the sentence fits each look; ``prior`` (N,) is what its slots say (:func:`prior_of`), from which
        the network starts. Only what [CLS] needs is computed."""
        x = text.states[None]
        for i in range(self.layers):
            last = i == self.layers - 1
            n = self._norm(x, f"layers.{i}.self_norm")
            x = (x[:, :1] if last else x) + self._attend(
                n[:, :1] if last else n, n, f"layers.{i}.self_attention"
            )
            x = self._looked(i, x, seen)
        h = self._norm(x[:, 0], "itm_norm")
        logits = self._linear(_gelu(self._linear(h, "itm_in")), "itm_out")
        out: np.ndarray = logits[:, 1] - logits[:, 0] + self._w["itm_near"] * self.near(text, seen)
        return out + self._w["itm_prior"] * prior if self.facts else out

    @property
    def words(self) -> list[str]:
        """What the cloze head can say."""
        return list(self.card.get("words", ()))

    def fill(self, tokens: np.ndarray, places: Sequence[int], seen: Seen) -> np.ndarray:
        """(N, K, words) log probabilities of the words hidden at ``places`` of a sentence with frozen ``tokens`` (T, 384)."""
        x = self.text(tokens).states[None]
        for i in range(self.layers):
            n = self._norm(x, f"layers.{i}.self_norm")
            x = self._looked(i, x + self._attend(n, n, f"layers.{i}.self_attention"), seen)
        logits = self._linear(self._norm(x[:, list(places)], "cloze_norm"), "cloze_out")
        shifted = logits - logits.max(axis=-1, keepdims=True)
        out: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return out

    def _looked(self, i: int, x: np.ndarray, seen: Seen) -> np.ndarray:
        """Cross-attention and feed-forward of layer ``i``."""
        x = x + self._attend(
            self._norm(x, f"layers.{i}.cross_norm"), seen.tokens, f"layers.{i}.cross_attention"
        )
        h = _gelu(self._linear(self._norm(x, f"layers.{i}.ffn_norm"), f"layers.{i}.ffn_in"))
        return x + self._linear(h, f"layers.{i}.ffn_out")

    def _pose_aware(self, parts: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """f_V = f_I + Proj(softmax(Q Kᵀ / √d) V): the pose asks, the picture answers; one shared norm, as in CMP's code."""
        z = np.clip((pose - self._w["geometry_mean"]) / self._w["geometry_dev"], -6, 6)
        asks = self._linear(_gelu(self._linear(z, "pose_in")), "pose_out").reshape(parts.shape)
        asks, told = self._norm(asks, "pose_norm"), self._norm(parts, "pose_norm")
        return parts + self._attend(asks, told, "pose_attention")

    def _fact_tokens(self, p: np.ndarray, known: np.ndarray) -> np.ndarray:
        evidence = gains_of(p, known)
        rows = []
        for g, at in enumerate(self._groups):
            row = evidence[:, at] @ self._w["facts_atom"][at] + self._w["facts_group"][g]
            rows.append(row + np.any(known[:, at], axis=1, keepdims=True) * self._w["facts_known"][g])
        return np.stack(rows, axis=1).astype(np.float32)

    def _attend(self, asks: np.ndarray, told: np.ndarray, name: str) -> np.ndarray:
        """Multi-head attention of ``asks`` (1 or N, T, d) over ``told`` (1 or N, M, d)."""
        q, k, v = (
            self._heads(self._linear(x, f"{name}.{w}")) for x, w in ((asks, "q"), (told, "k"), (told, "v"))
        )
        scores = q @ k.transpose(0, 1, 3, 2) * np.float32(q.shape[-1] ** -0.5)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ v).transpose(0, 2, 1, 3)
        mixed = mixed.reshape(*mixed.shape[:2], v.shape[1] * v.shape[3])
        if name.endswith("cross_attention"):
            mixed = np.concatenate([mixed, asks * mixed], axis=-1)
        return self._linear(mixed, f"{name}.o")

    def _heads(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(0, 2, 1, 3)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        w = self._w[f"{name}.weight"]
        flat = x.reshape(-1, x.shape[-1]) @ w.T
        return (flat + self._w[f"{name}.bias"]).reshape(*x.shape[:-1], len(w))

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(1e-5))
        return centred / spread * self._w[f"{name}.weight"] + self._w[f"{name}.bias"]


def _gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form (Hendrycks and Gimpel, arXiv 1606.08415)."""
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    out: np.ndarray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return out


def _unit(x: np.ndarray) -> np.ndarray:
    out: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
    return out


def prior_of(query: Query, looks: Looks) -> np.ndarray:
    """(N,) what the slots of ``query`` say of the facts of each look: the score of the stage ``facts``."""
    return matching.scores(query, looks.p, looks.known)


@cache
def packaged() -> CrossModel:
    """The shipped cross-encoder. Raises ModelError where it is damaged."""
    return CrossModel.load(FOLDER)


class Shelf(Protocol):
    """Where entries are looked up; a gallery is one."""

    def get_many(self, ids: Sequence[str]) -> list[Entry]: ...


@dataclass(slots=True)
class CrossStage:
    """The first ``n`` hits by how well the cross-encoder says that they fit, the rest as they were.

    The final score is X-VLM's: min-max of the matching log odds plus ``weight`` × min-max of the contrastive
    similarities, over the hits of this query. Entries without part tokens (moments, vectors alone) count as the worst
    of the scored.
    """

    shelf: Shelf
    words: WordTokens
    n: int = 128
    weight: float = 0.002
    model: CrossModel = field(default_factory=packaged)
    name: str = "cross"

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError("n", f"expected 0 or more hits to match, got {self.n}")

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits with the log odds of the match in ``stages["cross"]``."""
        head = list(hits[: self.n])
        ids, looks = looks_of(self.shelf.get_many([h.id for h in head]))
        if len(ids) < 2:
            return list(hits)
        text = self.model.text(self.words.tokens([query.text], MOST_TOKENS)[0])
        seen = self.model.looks(looks)
        odds = dict(zip(ids, self.model.match(text, seen, prior_of(query, looks)).tolist(), strict=True))
        near = dict(zip(ids, self.model.near(text, seen).tolist(), strict=True))
        m, s = _spread([odds.get(h.id) for h in head]), _spread([near.get(h.id) for h in head])
        final = m + self.weight * s
        order = sorted(range(len(head)), key=lambda i: -final[i])
        return reordered(hits, [*order, *range(len(head), len(hits))], self.name, odds)


@dataclass(slots=True)
class CrossWitness:
    """AnomalyLMM's witness without a language model: the cross-encoder's cloze head says the likeliest word.

    It is shown an entry and the sentence with its blanks, as it was trained: all of them hidden at once. A word less likely
    than ``least`` stays unsaid.
    """

    model: CrossModel
    words: WordTokens
    least: float = 0.2

    @property
    def id(self) -> str:
        """Names the weights and the threshold."""
        return f"cloze-head:{self.model.id}:{self.least:g}"

    def fill(self, masked: str, blanks: Sequence[Blank], shown: Entry | None) -> list[Fill]:
        """One word or UNKNOWN per blank."""
        return list(self.fill_all(masked, blanks, [shown])[0].fills)

    def fill_all(self, masked: str, blanks: Sequence[Blank], shown: Sequence[Entry | None]) -> list[Said]:
        """As :meth:`fill`, of many entries at once."""
        nothing: list[Fill] = [UNKNOWN] * len(blanks)
        heard: dict[str, list[Fill]] = {}
        ids, looks = looks_of([e for e in shown if e is not None])
        tokens, places = self.words.blanked(parts_of(masked, blanks), MOST_TOKENS)
        if ids and places and self.model.words:
            likely = np.exp(self.model.fill(tokens, places, self.model.looks(looks)))
            for i, rows in zip(ids, likely, strict=True):
                best = [(float(r.max()), self.model.words[int(r.argmax())]) for r in rows]
                said: list[Fill] = [word if p >= self.least else UNKNOWN for p, word in best]
                heard[i] = [*said, *nothing[len(said) :]]
        return [Said(list(nothing if e is None else heard.get(e.id, nothing))) for e in shown]


def parts_of(masked: str, blanks: Sequence[Blank]) -> list[str]:
    """A masked sentence in the parts between its blanks."""
    edges = [0, *(e for b in blanks for e in (b.start, b.end)), len(masked)]
    return [masked[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _spread(values: Sequence[float | None]) -> np.ndarray:
    """Min-max over the known values; unknown ones get the lowest."""
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    filled = np.array([low if v is None else v for v in values])
    return (filled - low) / (high - low) if high > low else np.zeros(len(filled))
