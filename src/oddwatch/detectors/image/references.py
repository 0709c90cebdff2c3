"""Normal reference pictures for training episodes: tokens of other normal pictures of the same thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.core import ImageEncoder
from oddwatch.detectors.image.heads import Arrays, varied

COPIES = 4


class References:
    """Tokens of up to ``keep`` normal pictures of each of ``sets`` (drawn by ``rng``), encoded once.

    A set of one picture gives varied copies of it: a reference equal to its query would teach nothing.
    """

    def __init__(
        self,
        eyes: ImageEncoder,
        layers: Sequence[str],
        sets: Sequence[Sequence[np.ndarray]],
        rng: np.random.Generator,
        keep: int = 32,
    ) -> None:
        self.rng = rng
        self.which: list[np.ndarray] = []
        self.tokens: list[Arrays] = []
        for pictures in sets:
            if len(pictures) == 1:
                which = np.full(COPIES, -1)
                shown = [varied(rng, pictures[0]) for _ in which]
            else:
                which = rng.permutation(len(pictures))[:keep]
                shown = [pictures[int(i)] for i in which]
            made = eyes.encode(shown, layers).layers if shown else {}
            self.which.append(which)
            self.tokens.append({name: value.astype(np.float16) for name, value in made.items()})

    def draw(self, source: tuple[int, int], n: int) -> Arrays:
        """Layer → (n, T, D) float32 of ``n`` pictures of the set of ``source`` (set, picture), and not of that picture;
        with repetition where there are fewer."""
        kind, picture = source
        able = np.flatnonzero(self.which[kind] != picture)
        chosen = self.rng.choice(able, n, replace=n > len(able))
        return {name: value[chosen].astype(np.float32) for name, value in self.tokens[kind].items()}
