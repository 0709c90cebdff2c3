"""Candidates for the nearest of very many vectors: FAISS lists of 4-bit product codes, read a register at a time.

The bank measures the candidates exactly, so that the codes need only be good enough to name the nearest among the first
few (Jégou, Douze and Schmid, TPAMI 2011; André, Kermarrec and Le Scouarnec, VLDB 2015 for the register scan).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

CANDIDATES = 32
"""Candidates that are measured exactly, for one neighbour; twice as many as neighbours at least."""
PROBES = 16
"""Lists that are read for a query."""
SAMPLE = 40
"""Vectors a list that the lists are found from."""


class Proposer:
    """An index over ``vectors`` (n, D), n some thousands or more; the same vectors and ``seed`` give the same index.

    Beside the vectors it takes D/4 bytes a vector (a 4-bit code for every two numbers).
    """

    def __init__(self, vectors: np.ndarray, seed: int = 0) -> None:
        faiss: Any = importlib.import_module("faiss")
        n, width = vectors.shape
        lists = int(max(1, min(2 * np.sqrt(n), n / SAMPLE)))
        codes = next(m for m in range(max(1, width // 2), 0, -1) if width % m == 0)
        self._index: Any = faiss.index_factory(width, f"IVF{lists},PQ{codes}x4fs", faiss.METRIC_L2)
        self._index.cp.seed, self._index.cp.niter = seed + 1, 8
        self._index.pq.cp.seed = seed + 1
        sample = np.random.default_rng(seed).choice(n, min(n, SAMPLE * lists), replace=False)
        self._index.train(vectors[np.sort(sample)].astype(np.float32))
        for lo in range(0, n, 65_536):
            self._index.add(np.ascontiguousarray(vectors[lo : lo + 65_536], np.float32))
        self._parameters = faiss.SearchParametersIVF(nprobe=min(PROBES, lists))

    def propose(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Row numbers (q, c) int64 that very probably hold the ``k`` nearest of each query; −1 where fewer were found."""
        _, found = self._index.search(
            np.ascontiguousarray(queries, np.float32), max(CANDIDATES, 2 * k), params=self._parameters
        )
        rows: np.ndarray = found
        return rows
