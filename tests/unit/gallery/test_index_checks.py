"""The checks F-1 to F-7 of the specification (search §9) against the gallery as an index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from oddwatch.core import EncoderMismatch, Entry, InputError, Span, Where
from oddwatch.gallery import Gallery, ann, snapshot
from oddwatch.scoring.cut import relative_cut
from oddwatch.search.engine import search

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIZE, DIM = 10_000, 32
RECALL = 0.85
"""Wanted of the approximate index on random unit vectors, which have no clusters to exploit: its worst case (0.905
when this was written; 0.98 is wanted of clustered ones in test_gallery_search)."""


def bare(i: int, every: int = 100) -> Entry:
    """Entry ``i``, seen at second ``i``; each ``every``-th by the camera ``rare``."""
    camera = "rare" if i % every == 0 else "common"
    return Entry(
        f"{i:05d}", f"/m/{i % 3}.mp4", "person", Span(float(i), i + 1.0), i + 0.5, None, None,
        camera=camera, wall_time=START + timedelta(seconds=i + 0.5),
    )  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """(SIZE, DIM) random unit vectors, rounded to the half precision they are stored in."""
    made = np.random.default_rng(11).normal(size=(SIZE, DIM))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    """(40, DIM) random unit vectors that are not in the gallery."""
    made = np.random.default_rng(12).normal(size=(40, DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, vectors):
    """A gallery of SIZE entries, its search files and approximate index written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oddwatch.gallery.sidecar.ANN_ROWS", SIZE // 2)
        with Gallery.open(tmp_path_factory.mktemp("checks") / "g") as g:
            g.add_arrays((bare(i) for i in range(SIZE)), {"image": vectors})
            assert g.optimize()
            assert list(g.path.rglob("*.faiss"))
            yield g


def by_argsort(vectors: np.ndarray, query: np.ndarray, k: int) -> list[str]:
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    return [f"{i:05d}" for i in np.argsort(-scores, kind="stable")[:k]]


def test_f1_the_exact_index_is_an_argsort(filled, vectors, queries):
    for query in queries[:8]:
        for k in (1, 10, 300):
            ids, scores = filled.search("image", query, k)
            assert ids == by_argsort(vectors, query, k)
            want = np.sort(-(vectors.astype(np.float64) @ query.astype(np.float64)))[:k]
            np.testing.assert_allclose(scores, -want, rtol=1e-6)


def test_f2_the_approximate_index_finds_nearly_all(filled, vectors, queries, monkeypatch):
    asked: list[int] = []
    real = ann.propose
    monkeypatch.setattr(ann, "propose", lambda *a: asked.append(1) or real(*a))
    plain = [filled.search("image", q, 10)[0] for q in queries]
    assert not asked, "a gallery of this size is scanned exactly"
    monkeypatch.setattr(snapshot, "EXACT_ROWS", SIZE // 4)
    found = [filled.search("image", q, 10)[0] for q in queries]
    assert len(asked) == len(queries), "the index was not used"
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, plain, strict=True)])
    assert recall >= RECALL


@pytest.mark.parametrize("exact_rows", [50_000, 50])
def test_f3_a_filter_that_one_in_a_hundred_passes_fills_the_list(
    filled, vectors, queries, monkeypatch, exact_rows
):
    monkeypatch.setattr(snapshot, "EXACT_ROWS", exact_rows)
    rare = np.arange(0, SIZE, 100)
    for query in queries[:10]:
        for limit in (10, 60, len(rare)):
            ids, _ = filled.search("image", query, limit, Where(camera="rare"))
            assert len(ids) == limit
            assert all(int(i) % 100 == 0 for i in ids)
        assert filled.search("image", query, 500, Where(camera="rare"))[0] == [
            f"{100 * int(i):05d}" for i in by_argsort(vectors[rare], query, 500)
        ]


def test_f4_empty_gallery_large_k_duplicates_and_stop_words(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        assert g.search("image", np.ones(16), 5)[0] == []
        assert len(search(g, "a man in red")) == 0
        assert search(g, "a man in red").answer == "nobody matches"
        g.add([make(1), make(2)])
        assert len(g.search("image", np.ones(16), 3)[0]) == 2
        g.add([make(1, vectors={"image": 9 * np.ones(16, np.float32)}), make(1), make(1)])
        assert len(g) == 2, "an id given again replaces what was there"
        assert sorted(g.search("image", np.ones(16), 9)[0]) == ["e00001", "e00002"]
        kept = float(make(1).vectors["image"].astype(np.float16).astype(np.float64).sum())
        assert g.scores_for("image", np.ones(16), ["e00001"])[0] == pytest.approx(kept, rel=1e-5)
        with pytest.raises(InputError, match="unique"):
            g.add_arrays([make(3), make(3)], {"image": np.ones((2, 16), np.float32)})
        for text in ("the of and with", "", "   "):
            with pytest.raises(InputError, match=r"query|sentence"):
                search(g, text)


def test_f5_vectors_of_another_model_are_not_searched(tmp_path, make):
    place = tmp_path / "g"
    with Gallery.open(place, encoders={"image": "model-a/1"}) as g:
        g.add([make(1)])
    for changed in ("model-a/2", "model-b/1"):
        with pytest.raises(EncoderMismatch, match=changed):
            Gallery.open(place, encoders={"image": changed})
    with Gallery.open(place, encoders={"image": "model-a/1"}) as g:
        with pytest.raises(EncoderMismatch, match="16 numbers"):
            g.search("image", np.ones(24), 1)
        with pytest.raises(EncoderMismatch):
            g.add([make(2, vectors={"image": np.ones(24, np.float32)})])
        assert g.search("image", np.ones(16), 9)[0] == ["e00001"], (
            "what is there is still found by its own model"
        )


def test_f6_the_relative_cut_depends_on_the_best_hit_alone(filled, queries):
    for query in queries[:5]:
        for r in (0.0, 0.5, 0.8, 1.0):
            kept = []
            for k in (5, 50, 500):
                ids, scores = filled.search("image", query, k)
                mask = relative_cut(scores, r)
                assert mask[0], "the best hit stays"
                assert (scores[mask] >= r * scores[0]).all() and (scores[~mask] < r * scores[0]).all()
                kept.append([i for i, m in zip(ids, mask, strict=True) if m])
            for shorter, longer, k in ((kept[0], kept[1], 5), (kept[1], kept[2], 50)):
                assert longer[:k] == shorter, "a longer list changes nothing above the cut"


WINDOW = Where(after=START + timedelta(seconds=2_000), before=START + timedelta(seconds=4_000))


@pytest.mark.parametrize(
    "where",
    [
        WINDOW,
        Where(camera="rare"),
        Where(camera="common", after=WINDOW.after),
        Where(camera="rare", after=WINDOW.after, before=WINDOW.before),
    ],
    ids=["time", "camera", "camera and start", "camera and time"],
)
def test_f7_filters_commute_with_ranking(filled, queries, where):
    passing = {e.id for e in filled.entries(where, full=False)}
    assert 0 < len(passing) < SIZE
    for query in queries[:5]:
        everything, scores = filled.search("image", query, SIZE)
        later = [(i, s) for i, s in zip(everything, scores.tolist(), strict=True) if i in passing]
        for k in (10, SIZE):
            first, own = filled.search("image", query, k, where)
            assert list(zip(first, own.tolist(), strict=True)) == later[:k]
