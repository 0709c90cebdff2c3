"""The stage of published checkpoints: a small model of each family, with random weights, over entries made by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from oddwatch.core import Box, Entry, Frame, Hit, InputError, Person, Pose, Query, View  # noqa: E402
from oddwatch.encoders.xvlm.keys import Sizes  # noqa: E402
from oddwatch.encoders.xvlm.model import open_model  # noqa: E402
from oddwatch.media.looks import take  # noqa: E402
from oddwatch.search.checkpoint import MatcherStage, kept_picture, kept_pose  # noqa: E402
from oddwatch.search.fuse import two_stage  # noqa: E402
from oddwatch.search.stages import Kit, build  # noqa: E402

SIZES = {
    "xvlm": Sizes("xvlm", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20),
    "cmp": Sizes("cmp", 16, (2, 2), (2, 4), 4, 32, 30522, 64, 24, 3, 40, 2, 2, 20, True, True),
}
TEXT = "a man falls off a bicycle"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Any]:
    from oddwatch.encoders.xvlm.nets import Net

    folder, out = tmp_path_factory.mktemp("checkpoints"), {}
    for family, sizes in SIZES.items():
        torch.manual_seed(1)
        net = Net(sizes)
        for name, value in net.named_parameters():
            is_scale = "norm" in name.lower() and name.endswith("weight")
            torch.nn.init.normal_(value, 1.0 if is_scale else 0.0, 0.3)
        torch.save({"model": net.state_dict()}, folder / f"{family}.pth")
        out[family] = open_model(folder / f"{family}.pth", sizes=sizes, device="cpu", batch=3)
    return out


class Shelf:
    """Entries by id, and how often each was asked for."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = {e.id: e for e in entries}
        self.asked: list[str] = []

    def get_many(self, ids, *, full=True) -> list[Entry]:
        self.asked += ids
        return [self.entries[i] for i in ids if i in self.entries]


def pose(rng: np.random.Generator, box: Box) -> Pose:
    x, y = rng.uniform(box.x0, box.x1, 17), rng.uniform(box.y0, box.y1, 17)
    return Pose(np.column_stack([x, y, np.ones(17)]).astype(np.float32))


def entry(number: int, picture: bool = True) -> Entry:
    rng = np.random.default_rng(number)
    colours = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    frame = Frame(colours.repeat(30, 0).repeat(30, 1), f"{number}.jpg")
    box = Box(40, 20, 70, 60)
    look = take(frame, Person(box, 1.0, pose(rng, box)), (), 1.0)
    jpeg = look.jpeg if picture else None
    return Entry(
        str(number), frame.source, "person", None, None, None, box, views=(look.view,), thumbnail=jpeg
    )


def hits(ids: str) -> list[Hit]:
    return [Hit(k, i, f"{i}.jpg", "person", 0.0, stages={"coarse": -float(k)}) for k, i in enumerate(ids, 1)]


@pytest.mark.parametrize("family", SIZES)
def test_hits_are_ordered_by_match_and_then_by_similarity(models, family):
    model, shelf = models[family], Shelf([entry(i) for i in range(7)])
    found = MatcherStage(shelf, model, n=6).rerank(Query(TEXT), hits("0123456"))
    frames = [kept_picture(shelf.entries[i]) for i in "012345"]
    poses = [kept_pose(shelf.entries[i], f) for i, f in zip("012345", frames, strict=True)]
    tokens = model.tokens_of(frames, poses) if family == "cmp" else model.tokens_of(frames)
    m, s = model.match(TEXT, tokens), model.vectors_of(tokens) @ model.encode_texts([TEXT])[0]
    assert len(set(m.round(4).tolist())) == 6
    order = np.argsort(-two_stage(m[None], s[None])[0], kind="stable")
    assert [h.id for h in found] == [*(str(i) for i in order), "6"]
    assert [h.rank for h in found] == list(range(1, 8))
    for h in found[:6]:
        assert h.stages["checkpoint"] == pytest.approx(m[int(h.id)], abs=1e-5)
        assert h.stages["coarse"] == -1.0 - int(h.id)
    assert "checkpoint" not in found[6].stages


def test_cmp_sees_the_pose(models):
    still = [entry(i) for i in range(4)]
    blind = [
        replace(e, views=(replace(e.views[0], person=replace(e.views[0].person, pose=None)),)) for e in still
    ]
    scores = [
        {h.id: h.stages["checkpoint"] for h in MatcherStage(Shelf(es), models["cmp"]).rerank(Query(TEXT), hits("0123"))}
        for es in (still, blind)
    ]  # fmt: skip
    assert all(abs(scores[0][i] - scores[1][i]) > 1e-4 for i in "0123")


def test_tokens_are_computed_once_and_kept_within_bounds(models, monkeypatch):
    model, encoded = models["xvlm"], []
    whole = model.tokens_of
    monkeypatch.setattr(model, "tokens_of", lambda frames: encoded.append(len(frames)) or whole(frames))
    shelf = Shelf([entry(i) for i in range(5)])
    stage = MatcherStage(shelf, model)
    first = stage.rerank(Query(TEXT), hits("01234"))
    again = stage.rerank(Query(TEXT), hits("43210"))
    other = stage.rerank(Query("a woman in a red coat"), hits("01234"))
    assert encoded == [3, 2] and sorted(shelf.asked) == list("01234")
    assert [h.id for h in first] == [h.id for h in again]
    assert first[0].stages["checkpoint"] != other[0].stages["checkpoint"]

    one = next(iter(stage._tokens.values())).nbytes
    small = MatcherStage(shelf, model, memory=2 * one)
    assert [h.id for h in small.rerank(Query(TEXT), hits("01234"))] == [h.id for h in first]
    assert list(small._tokens) == ["3", "4"]
    assert [h.id for h in MatcherStage(shelf, model, memory=0).rerank(Query(TEXT), hits("01234"))] == [
        h.id for h in first
    ]


def test_a_hit_without_a_picture_counts_as_the_worst(models):
    shelf = Shelf([entry(0, picture=False), *(entry(i) for i in range(1, 4))])
    found = MatcherStage(shelf, models["xvlm"]).rerank(Query(TEXT), hits("0123"))
    assert found[-1].id == "0" and "checkpoint" not in found[-1].stages
    alone = MatcherStage(shelf, models["xvlm"]).rerank(Query(TEXT), hits("01"))
    assert [h.id for h in alone] == ["0", "1"] and "checkpoint" not in alone[1].stages
    assert MatcherStage(shelf, models["xvlm"]).rerank(Query(TEXT), []) == []
    none = MatcherStage(shelf, models["xvlm"], n=0).rerank(Query(TEXT), hits("12"))
    assert [(h.id, *h.stages) for h in none] == [("1", "coarse"), ("2", "coarse")]
    with pytest.raises(InputError, match="0 or more"):
        MatcherStage(shelf, models["xvlm"], n=-1)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((700, 900), Box(300, 200, 420, 500)),  # shrunk
        ((200, 160), Box(60, 50, 100, 110)),  # as it is
        ((700, 900), Box(5, 3, 120, 420)),  # cut above and left
        ((500, 900), Box(300, 150, 420, 495)),  # cut below
        ((160, 200), Box(170, 20, 195, 90)),  # cut at the right
    ],
)
def test_the_kept_pose_lies_on_the_kept_picture(size, box):
    frame = Frame(np.zeros((*size, 3), np.uint8), "a.jpg")
    look = take(frame, Person(box, 1.0, pose(np.random.default_rng(3), box)), (), 1.0)
    kept = Entry("a", "a.jpg", "person", None, None, None, box, views=(look.view,), thumbnail=look.jpeg)
    found, truth = kept_pose(kept, look.context), look.person.pose
    assert found is not None and truth is not None
    np.testing.assert_allclose(found.points, truth.points, atol=1.0)  # of 320 pixels


def test_a_whole_frame_is_no_cut(models):
    frame = Frame(np.zeros((360, 640, 3), np.uint8), "a.jpg")
    box = Box(300, 100, 360, 250)
    own = pose(np.random.default_rng(3), box)
    jpeg = io.BytesIO()
    from PIL import Image

    Image.fromarray(frame.pixels).save(jpeg, "JPEG")
    view = View(None, None, Person(box, 1.0, own))
    kept = Entry("a", "a.jpg", "person", None, None, None, box, views=(view,), thumbnail=jpeg.getvalue())
    found = kept_pose(kept, kept_picture(kept))
    np.testing.assert_array_equal(found.points, own.points)
    assert kept_pose(replace(kept, views=()), frame) is None


def test_the_kit_builds_it(models):
    shelf: Any = Shelf([entry(i) for i in range(3)])
    stages = build(["coarse", "checkpoint:2"], Kit(shelf, shelf, matcher=models["cmp"]))
    (stage,) = stages.rerankers
    assert isinstance(stage, MatcherStage) and (stage.n, stage.model.family) == (2, "cmp")
    assert (
        Kit(shelf, shelf).picture(hits("1")[0]).pixels.shape == kept_picture(shelf.entries["1"]).pixels.shape
    )
    assert Kit(shelf, shelf).picture(hits("9")[0]) is None
    with pytest.raises(InputError, match="--checkpoint PATH"):
        build(["coarse", "checkpoint"], Kit(shelf, shelf))


def test_a_search_with_a_checkpoint(models, tmp_path):
    """From a file on disk, through the public door."""
    from oddwatch.api import Gallery

    path = Path(tmp_path) / "xvlm.pth"
    from oddwatch.encoders.xvlm import files

    torch.save({"model": models["xvlm"].net.state_dict()}, path)
    files.convert(path, tmp_path / "xvlm.safetensors", SIZES["xvlm"])
    with Gallery.open(tmp_path / "g") as gallery:
        stages = gallery.stages(["coarse", "facts", "checkpoint"], checkpoint=tmp_path / "xvlm.safetensors")
        assert stages.rerankers[0].model.id == models["xvlm"].id
        assert len(gallery.search("a man in a red coat falls", stages=stages)) == 0


def test_a_benchmark_with_a_checkpoint(models):
    from oddwatch.bench.stages import check, compose
    from oddwatch.bench.subjects import gallery_of
    from oddwatch.core import Facts
    from oddwatch.datasets.records import Record
    from oddwatch.describe.atoms import ATOMS, SCHEMA_ID
    from oddwatch.describe.describer import evidence
    from oddwatch.describe.sentence import parse

    unseen = Facts(SCHEMA_ID, np.full(len(ATOMS), 0.5, np.float32), np.zeros(len(ATOMS), bool))
    entries = [replace(entry(i), facts=unseen) for i in range(5)]
    gallery = gallery_of([Record(f"{i}.jpg", f"{i}") for i in range(5)], entries, range(5), evidence)
    names = ("coarse", "checkpoint")
    with pytest.raises(InputError, match="--checkpoint PATH"):
        check(names)
    check(names, matcher=models["xvlm"])
    query = parse("a man in a red coat falls")
    found = compose(gallery, [query, None], names, None, matcher=models["xvlm"])
    tokens = models["xvlm"].tokens_of([kept_picture(e) for e in entries])
    expected = np.argsort(-models["xvlm"].match(query.text, tokens))
    assert np.argsort(-found.scores[0]).tolist() == expected.tolist()
    assert found.pairs is None and not found.transductive and not np.isfinite(found.scores[1]).any()
