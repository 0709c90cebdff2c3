"""Search equals brute force, under every filter, whatever is written meanwhile."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from oddwatch.core import Entry, InputError, Span, Where
from oddwatch.gallery import Gallery, ann, scan, snapshot

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIZES = {"facts": 12, "image": 8}


def passes(entry: Entry, where: Where | None) -> bool:
    """The meaning of a filter, written out."""
    if where is None:
        return True
    for name in ("kind", "camera", "label"):
        if getattr(where, name) is not None and getattr(where, name) != getattr(entry, name):
            return False
    if where.source is not None and not entry.source.endswith(where.source):
        return False
    if where.after is None and where.before is None:
        return True
    if entry.wall_time is None:
        return False
    start = entry.wall_time - timedelta(seconds=entry.time - entry.span.start)
    stop = start + timedelta(seconds=entry.span.duration)
    if where.after is not None and not (stop > where.after or start >= where.after):
        return False
    return where.before is None or start < where.before


def brute(gallery: Gallery, space: str, vector: np.ndarray, k: int, where: Where | None):
    scored = [
        (-np.float32(np.dot(e.vectors[space].astype(np.float64), vector.astype(np.float64))), e.id)
        for e in gallery.entries()
        if space in e.vectors and passes(e, where)
    ]
    scored.sort()
    return [i for _, i in scored[:k]], np.array([-s for s, _ in scored[:k]], np.float32)


def times(lowest: int = -5, highest: int = 40):
    return st.integers(lowest, highest).map(lambda s: START + timedelta(seconds=s))


maybe = lambda values: st.none() | values  # noqa: E731
wheres = st.builds(
    Where,
    kind=maybe(st.sampled_from(["person", "moment"])),
    source=maybe(st.sampled_from(["a.mp4", "/m/b.mp4", "none.mp4"])),
    camera=maybe(st.sampled_from(["c0", "c1", "never"])),
    after=maybe(times()),
    before=maybe(times()),
    label=maybe(st.sampled_from(["odd", "never"])),
)


def some_entries(seed: int, count: int) -> list[Entry]:
    """Entries with few distinct values, so that scores tie and filters bite; some lack a vector, time or camera."""
    rng = np.random.default_rng(seed)
    entries = []
    for i in range(count):
        start = int(rng.integers(0, 30))
        vectors = {
            s: rng.integers(-3, 4, d).astype(np.float32) for s, d in SIZES.items() if rng.random() < 0.8
        }
        entries.append(
            Entry(
                id=f"{rng.choice(list('zyxab'))}{i}", source=f"/m/{rng.choice(['a', 'b'])}.mp4",
                kind="person" if rng.random() < 0.5 else "moment", span=Span(start, start + 2.0), time=start + 1.0,
                frame=None, box=None, camera=[None, "c0", "c1"][rng.integers(3)],
                wall_time=START + timedelta(seconds=start) if rng.random() < 0.8 else None,
                label="odd" if rng.random() < 0.5 else None, vectors=vectors,
            )
        )  # fmt: skip
    return entries


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    seed=st.integers(0, 9999), count=st.integers(0, 40), cut=st.integers(0, 40), where=wheres, k=st.integers(0, 45),
    packed=st.booleans(), looked=st.booleans(), replaced=st.booleans(),
)  # fmt: skip
def test_search_equals_brute_force(seed, count, cut, where, k, packed, looked, replaced):
    entries = some_entries(seed, count)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, Gallery.open(Path(folder) / "g") as g:
        g.add(entries[:cut])
        if packed:
            g.optimize()
        if looked and "image" in g.spaces():
            g.search("image", np.ones(8), 1)
        g.add(entries[cut:])
        if replaced:
            g.add(entries[:1])  # written again, it leaves a dead row behind
        for space, dim in SIZES.items():
            query = rng.integers(-2, 3, dim).astype(np.float32)
            ids, scores = g.search(space, query, k, where)
            wanted, values = brute(g, space, query, k, where)
            assert ids == wanted
            assert np.array_equal(scores, values)
            assert np.array_equal(scores, g.scores_for(space, query, ids))
        assert {e.id for e in g.entries(where)} == {e.id for e in entries if passes(e, where)}


def test_nothing_there_too_many_wanted_none_wanted(tmp_path, make):
    with Gallery.open(tmp_path / "g") as g:
        assert g.search("image", np.ones(16), 5) == ([], pytest.approx(np.empty(0)))
        g.add([make(1), make(2)])
        assert len(g.search("image", np.ones(16), 99)[0]) == 2
        assert g.search("image", np.ones(16), 0)[0] == []
        assert g.search("no such space", np.ones(16), 5)[0] == []
        with pytest.raises(InputError):
            g.search("image", np.ones(16), -1)
        with pytest.raises(InputError):
            g.search("image", np.full(16, np.nan), 1)
        assert np.isnan(g.scores_for("image", np.ones(16), ["none"])).all()


def test_equal_scores_come_by_id(tmp_path, make):
    vector = {"image": np.arange(16.0), "facts": np.arange(20.0)}
    order = np.random.default_rng(0).permutation(300)
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(int(i), vectors=vector) for i in order)
        for space, dim in (("image", 16), ("facts", 20)):
            for query in (np.linspace(0.1, 0.7, dim), np.zeros(dim)):
                for k in (1, 7, 299):
                    ids, scores = g.search(space, query, k)
                    assert ids == [f"e{i:05d}" for i in range(k)] and len(set(scores.tolist())) == 1


def test_a_reader_sees_what_a_writer_adds_and_removes(tmp_path, make):
    with Gallery.open(tmp_path / "g") as writer, Gallery.open(tmp_path / "g", readonly=True) as reader:
        query = make(40).vectors["image"]
        assert reader.search("image", query, 1)[0] == []
        for lo in range(0, 60, 10):
            writer.add(make(i) for i in range(lo, lo + 10))
            assert len(reader.search("image", query, 99)[0]) == lo + 10
        assert reader.search("image", query, 1)[0] == ["e00040"]
        writer.remove(ids=["e00040"])
        assert "e00040" not in reader.search("image", query, 99)[0]
        writer.add([make(40)])
        assert reader.search("image", query, 1)[0] == ["e00040"]


def test_column_scores_touch_what_they_should():
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (30, 70_001)).astype(np.int8)
    scale = rng.random(70_001).astype(np.float32)
    weights = np.zeros(30, np.float32)
    weights[[3, 17, 29]] = 1.0, -0.5, 2.0
    truth = (weights.astype(np.float64) @ codes) * scale
    np.testing.assert_allclose(scan.column_scores(codes, scale, weights), truth, rtol=1e-4, atol=1e-3)
    rows = np.sort(rng.choice(70_001, 5_000, replace=False))
    np.testing.assert_allclose(
        scan.column_scores(codes, scale, weights, rows), truth[rows], rtol=1e-4, atol=1e-3
    )
    assert not scan.column_scores(codes, scale, np.zeros(30)).any()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-3, 3), min_size=1, max_size=60), k=st.integers(0, 70), seed=st.integers(0, 9)
)
def test_top_is_a_sort(values, k, seed):
    scores = np.array(values, np.float32)
    names = np.random.default_rng(seed).permutation(len(values))
    ids = np.array([f"camera-one-{n:04d}".encode() for n in names])
    best = scan.top(scores, ids, k)
    assert best.tolist() == sorted(range(len(values)), key=lambda i: (-scores[i], ids[i]))[:k]
    assert set(best.tolist()) <= set(scan.near(scores, k, 1e-6).tolist())


@pytest.mark.parametrize("n", [1, 255, 5_000, 20_003])
@pytest.mark.parametrize("k", [1, 3, 200])
def test_near_holds_whatever_an_error_could_bring_up(n, k):
    rng = np.random.default_rng(n + k)
    true, error = rng.normal(size=n), 1e-3
    seen = (true + rng.uniform(-error, error, n)).astype(np.float32)
    best = set(np.argsort(-true)[:k].tolist())
    found = scan.near(seen, k, error + 1e-6)
    assert best <= set(found.tolist()) and (np.diff(found) > 0).all()
    assert len(found) <= k + 0.1 * n


def test_scores_are_as_right_as_their_bound_says(tmp_path, make):
    rng = np.random.default_rng(3)
    with Gallery.open(tmp_path / "g") as g:
        g.add(make(i, vectors={s: 30 * rng.normal(size=64) for s in ("facts", "image")}) for i in range(300))
        spaces = g.spaces()
        for name in ("facts", "image"):
            segment, matrix, _ = g._parts(spaces[name], None)[0]
            query = rng.normal(size=64).astype(np.float32)
            off = np.abs(matrix.scores(query) - matrix.exact(query, np.arange(len(segment))))
            assert 0 < off.max() < matrix.error(query) < 0.1


def test_the_approximate_index_finds_what_the_scan_finds(tmp_path, monkeypatch):
    monkeypatch.setattr("oddwatch.gallery.sidecar.ANN_ROWS", 2_000)
    monkeypatch.setattr(snapshot, "EXACT_ROWS", 500)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 32))
    vectors = centres[rng.integers(40, size=4_000)] + 0.4 * rng.normal(size=(4_000, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [
        Entry(f"{i:05d}", "/m", "person", None, None, None, None, camera=f"c{i % 4}") for i in range(4_000)
    ]
    asked: list[int] = []
    real = ann.propose
    monkeypatch.setattr(ann, "propose", lambda *a: asked.append(1) or real(*a))
    with Gallery.open(tmp_path / "g") as g:
        g.add_arrays(entries[:3_500], {"image": vectors[:3_500]})
        g.optimize()
        g.add_arrays(entries[3_500:], {"image": vectors[3_500:]})
        for where in (None, Where(camera="c1")):
            hits = 0
            for query in vectors[::100]:
                exact = g.search("image", query, 501, where)[0][:10]
                before = len(asked)
                ids, scores = g.search("image", query, 10, where)
                assert len(asked) > before, "the index was not used"
                assert np.array_equal(scores, g.scores_for("image", query, ids))
                hits += len(set(exact) & set(ids))
            assert hits / 400 >= 0.98
        few = g.search("image", vectors[0], 10, Where(camera="none"))
        assert few[0] == []
        exact = g.search("image", vectors[0], 501)[0][:10]
        (index,) = g.path.rglob("*.faiss")
        index.write_bytes(b"garbage")
        assert g.search("image", vectors[0], 10)[0] == exact, "without its index it scans"
