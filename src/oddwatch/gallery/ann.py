"""Approximate search over many dense vectors: FAISS IVF with 8-bit codes proposes, exact products decide."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

LISTS_PER_ROOT = 2.0
PROBES = 48
CANDIDATES = 20
BATCH = 100_000
_loading = threading.Lock()


def _faiss() -> Any:
    import faiss

    return faiss


def build(values: np.ndarray, rows: np.ndarray, file: Path, seed: int = 0) -> None:
    """Index ``values[rows]`` ((N, D) float32, any kind of inner product) into ``file``."""
    faiss = _faiss()
    lists = int(max(16, LISTS_PER_ROOT * np.sqrt(len(rows))))
    index = faiss.index_factory(values.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = seed + 1, 8
    sample = np.random.default_rng(seed).choice(len(rows), min(len(rows), 40 * lists), replace=False)
    index.train(np.ascontiguousarray(values[rows[np.sort(sample)]], np.float32))
    for lo in range(0, len(rows), BATCH):
        part = rows[lo : lo + BATCH]
        index.add_with_ids(np.ascontiguousarray(values[part], np.float32), part.astype(np.int64))
    faiss.write_index(index, str(file))


@lru_cache(maxsize=4)
def _read(file: Path, stamp: int) -> Any:
    return _faiss().read_index(str(file))


def propose(file: Path, rows: int, vector: np.ndarray, k: int, mask: np.ndarray | None) -> np.ndarray | None:
    """Row numbers that very probably hold the ``k`` best rows among ``mask`` (N,) bool, of ``rows`` in all.

    None when the file cannot be used: then everything has to be scanned.
    """
    faiss = _faiss()
    try:
        with _loading:
            index = _read(file, file.stat().st_mtime_ns)
        if index.d != len(vector) or index.ntotal > rows:
            raise RuntimeError(f"holds {index.ntotal} × {index.d}, expected at most {rows} × {len(vector)}")
    except (OSError, RuntimeError) as error:
        log.warning("%s is not usable, searching without it: %s", file, error)
        return None
    probes, extra = PROBES, {}
    if mask is not None:
        # A filter thins every list, so the best that pass lie in more of them.
        share = max(float(np.count_nonzero(mask)) / len(mask), 1e-3)
        probes = int(min(index.nlist, PROBES / share))
        bits = np.packbits(mask, bitorder="little")
        extra = {"sel": faiss.IDSelectorBitmap(bits)}
    parameters = faiss.SearchParametersIVF(nprobe=min(probes, index.nlist), **extra)
    wanted = max(100, CANDIDATES * k)
    _, found = index.search(np.ascontiguousarray(vector[None], np.float32), wanted, params=parameters)
    result: np.ndarray = np.sort(found[0][(found[0] >= 0) & (found[0] < rows)])
    return result
