"""The light heads: small networks over a person's pose and picture tokens, run in numpy.

They are trained by ``oddwatch train heads`` on drawn people only, on what the pose model and the encoder return for
them (``docs/heads-card.md``). A part network says what each patch of the crop shows; two networks, one for what
a person does and one for how they look, give evidence for atoms, which is weighed against the hand-built facts
by factors fitted on held-out drawings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import Facts, Frame, ModelError, Person
from oddwatch.describe import features
from oddwatch.describe.atoms import ATOMS, GROUPS, INDEX, SCHEMA_ID, group_of, members
from oddwatch.describe.features import CROP_MARGIN, PARTS, crop
from oddwatch.describe.priors import PRIOR

__all__ = ["BODY", "CROP_MARGIN", "LOOKS", "PARTS", "LightHeads", "crop"]

BODY = tuple(i for g in ("posture", "arms", "action", "facing", "company") for i in members(g))
"""Atoms of the network for what a person does."""

LOOKS = tuple(
    i
    for g in GROUPS
    if g
    not in (
        "posture",
        "arms",
        "action",
        "facing",
        "company",
        "motion",
        "count",
        "frame",
        "person",
        "place.color",
    )
    for i in members(g)
)
"""Atoms of the network for how a person and the surroundings look."""

_AROUND = frozenset(i for i, a in enumerate(ATOMS) if group_of(a) in ("place", "light", "weather"))
_LOGIT = np.log(PRIOR.astype(np.float64) / (1 - PRIOR.astype(np.float64)))
Crop = tuple[np.ndarray, np.ndarray]
"""CLS (384,) and patch tokens (256, 384) of one crop."""


class LightHeads:
    """The heads of ``arrays``; ``card`` says what they were trained on.

    Raises:
        ModelError: heads for another table of atoms.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> None:
        if card.get("schema") != SCHEMA_ID:
            raise ModelError(
                f"heads: made for atoms {card.get('schema')!r}, not {SCHEMA_ID}; run oddwatch train heads again"
            )
        self.arrays = {k: np.asarray(v, np.float32) for k, v in arrays.items()}
        self.card = dict(card)

    @classmethod
    def load(cls, folder: str | Path | None = None) -> LightHeads:
        """The heads of a folder that ``oddwatch train heads`` wrote; without one, those of the package.

        Raises:
            ModelError: the files are absent or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        place = resources.files("oddwatch.describe").joinpath("data") if folder is None else Path(folder)
        try:
            card = json.loads(place.joinpath("heads.json").read_text("utf-8"))
            arrays = load(place.joinpath("heads.safetensors").read_bytes())
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"heads in {place}: {error}; run oddwatch train heads") from error
        return cls(arrays, card)

    def parts(self, frame: Frame, person: Person, seen: Crop) -> np.ndarray:
        """(256, P) float32 share of each of PARTS in each cell of the person's crop."""
        near = features.bones(person, features.crop_box(frame, person))
        return parts_of(self.arrays, np.concatenate([seen[1], near], axis=1))

    def refine(
        self,
        person: Person,
        others: Sequence[Person],
        facts: Facts,
        seen: Crop | None = None,
        parts: np.ndarray | None = None,
    ) -> Facts:
        """Hand-built ``facts`` of ``person`` weighed with what the networks say; ``seen`` and ``parts`` where the crop
        was encoded."""
        gain = features.gains(facts)
        plain = np.concatenate([features.geometry(person, others), gain])
        tokens = None if seen is None or parts is None else features.pooled(*seen, parts)
        told = evidence_of(self.arrays, plain, tokens)
        weigh = self.arrays["weigh.blind" if tokens is None else "weigh.tokens"]
        total = weigh[:, 0] * gain + weigh[:, 1] * told + weigh[:, 2] * (facts.known | (weigh[:, 1] > 0))
        known = (facts.known & (weigh[:, 0] > 0)) | (weigh[:, 1] > 0)
        p = 1 / (1 + np.exp(-np.clip(_LOGIT + total, -5.3, 3.9)))
        boxes = {a: b for a, b in facts.boxes.items() if known[INDEX[a]]}
        for i in np.flatnonzero(known & ~facts.known):
            if int(i) not in _AROUND and p[i] > PRIOR[i]:
                boxes[ATOMS[int(i)]] = person.box
        return Facts(facts.schema, np.where(known, p, PRIOR).astype(np.float32), known, boxes)


def parts_of(w: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(256, P) share of each part in each cell, from tokens and bones ``x`` (256, D)."""
    h = np.maximum(x @ w["parts.in"].T + w["parts.in_bias"], 0)
    logits = h @ w["parts.out"].T + w["parts.out_bias"]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True), np.float32)


def evidence_of(w: Mapping[str, np.ndarray], plain: np.ndarray, tokens: np.ndarray | None) -> np.ndarray:
    """(…, A) float32 log odds of the networks over the rates of their training data; 0 for atoms of no network.

    With tokens, the networks are asked with and without them and the mean is taken: drawings teach tokens more than
    holds of photographs.
    """
    out = np.zeros((*plain.shape[:-1], len(ATOMS)), np.float32)
    for name, atoms in (("body", BODY), ("looks", LOOKS)):
        said = network(w, name, plain, None)
        if tokens is not None:
            share = float(w["token_share"][0 if name == "body" else 1])
            said = share * network(w, name, plain, tokens) + (1 - share) * said
        out[..., list(atoms)] = said - w[f"{name}.rate"]
    return out


def network(
    w: Mapping[str, np.ndarray], name: str, plain: np.ndarray, tokens: np.ndarray | None
) -> np.ndarray:
    """(…, K) logits of the network ``name`` from ``plain`` (…, D) and pooled ``tokens`` (…, T) or None."""
    z = np.clip((plain - w[f"{name}.plain_mean"]) / w[f"{name}.plain_dev"], -6, 6)
    h = z @ w[f"{name}.plain"].T + w[f"{name}.bias"]
    if tokens is not None:
        t = np.clip((tokens - w[f"{name}.token_mean"]) / w[f"{name}.token_dev"], -6, 6)
        h = h + t @ w[f"{name}.tokens"].T
    h = np.maximum(np.maximum(h, 0) @ w[f"{name}.second"].T + w[f"{name}.second_bias"], 0)
    return np.asarray(h @ w[f"{name}.last"].T + w[f"{name}.last_bias"], np.float32)
