"""Tiles: one grid over overlapping looks, places on the picture, what is refused; the graph cut to what is asked."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import ImageEncoder, InputError, Tokens
from oddwatch.detectors.image.subspace import SubspaceAD
from oddwatch.encoders import weights
from oddwatch.encoders.session import session
from oddwatch.encoders.shorten import shortened
from oddwatch.encoders.tiles import TiledEncoder
from oddwatch.encoders.vit import LAYERS, PatchEncoder


class Means:
    """An encoder whose tokens are the mean colours of 14 × 14 patches, and whose class token is the picture's."""

    dim, layer_names, id = 3, ("last",), "means"

    def __init__(self, resolution: int = 56, fit: str = "squash") -> None:
        self.resolution, self.fit, self.most = resolution, fit, 0

    def encode(self, frames, layers=("last",)) -> Tokens:
        side, n = self.resolution // 14, len(frames)
        self.most = max(self.most, n)
        assert all(f.shape == (self.resolution, self.resolution, 3) for f in frames)
        cells = np.array(frames, np.float32).reshape(n, side, 14, side, 14, 3).mean((2, 4))
        tokens = cells.reshape(n, side * side, 3)
        return Tokens(
            tokens.mean(1).reshape(n, 3), {"last": tokens}, (side, side), np.ones((n, 2)), np.zeros((n, 2))
        )


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_grid_of_32_patches_with_8_in_common_is_56() -> None:
    assert TiledEncoder(Means(448), (2, 2), 0.25).grid == (56, 56)
    assert TiledEncoder(Means(448), (1, 3), 0.25).grid == (32, 80)
    assert TiledEncoder(Means(448), (2, 2), 0.0).grid == (64, 64)
    assert TiledEncoder(Means(56), (3, 2), 0.01).grid == (10, 7), "some overlap is at least one patch"


@pytest.mark.parametrize(("tiles", "overlap"), [((2, 2), 0.25), ((3, 2), 0.5), ((1, 1), 0.25), ((2, 3), 0.0)])
def test_tokens_that_see_only_their_patch_are_those_of_the_whole_picture(tiles, overlap) -> None:
    encoder = TiledEncoder(Means(), tiles, overlap)
    assert isinstance(encoder, ImageEncoder)
    rows, columns = encoder.grid
    picture = noise(rows * 14, columns * 14)
    whole = picture.reshape(rows, 14, columns, 14, 3).astype(np.float32).mean((1, 3)).reshape(-1, 3)
    tokens = encoder.encode([picture])
    np.testing.assert_allclose(tokens.layers["last"][0], whole, atol=1e-3)
    assert tokens.grid == (rows, columns) and tokens.scale.tolist() == [[1.0, 1.0]]


def test_tiles_that_differ_are_averaged_where_they_overlap() -> None:
    class Counting(Means):
        def encode(self, frames, layers=("last",)) -> Tokens:
            tokens = super().encode(frames, layers)
            numbers = np.arange(len(frames), dtype=np.float32)[:, None, None]
            return Tokens(
                tokens.cls,
                {"last": np.broadcast_to(numbers, tokens.layers["last"].shape)},
                tokens.grid,
                tokens.scale,
                tokens.offset,
            )

    tokens = TiledEncoder(Counting(), (2, 2), 0.5).encode([noise(50, 70)])
    seen = tokens.layers["last"][0, :, 0].reshape(tokens.grid)
    expected = np.array(
        [[0, 0, 0.5, 0.5, 1, 1]] * 2 + [[1, 1, 1.5, 1.5, 2, 2]] * 2 + [[2, 2, 2.5, 2.5, 3, 3]] * 2
    )
    np.testing.assert_allclose(seen, expected)


def test_places_on_the_picture_and_sizes_of_any_kind() -> None:
    encoder = TiledEncoder(Means(), (2, 3), 0.25)  # 7 × 10 patches: 98 × 140 pixels
    tokens = encoder.encode([noise(980, 1400), noise(49, 70, 1), noise(1, 1, 2)])
    np.testing.assert_allclose(tokens.scale, [[10, 10], [0.5, 0.5], [1 / 140, 1 / 98]])
    assert not tokens.offset.any() and np.isfinite(tokens.layers["last"]).all()
    padded = TiledEncoder(Means(fit="pad"), (2, 2), 0.25).encode([noise(49, 98)])
    np.testing.assert_allclose(padded.scale, [[1, 1]])
    np.testing.assert_allclose(padded.offset, [[0, -24]])
    assert not padded.layers["last"].reshape(7, 7, 3)[0].any(), "the black bar above"


def test_class_token_of_the_tiles_or_of_the_whole() -> None:
    picture = np.zeros((98, 98, 3), np.uint8)
    picture[:49] = 200
    mean, whole = (TiledEncoder(Means(), cls=cls).encode([picture]).cls[0, 0] for cls in ("mean", "whole"))
    assert whole == pytest.approx(100, abs=1) and mean == pytest.approx(100, abs=1)
    corner = np.zeros((98, 98, 3), np.uint8)
    corner[42:56, 42:56] = (
        196  # in every tile: the mean counts it four times in 4 · 16 patches, the whole once in 49
    )
    mean, whole = (TiledEncoder(Means(), cls=cls).encode([corner]).cls[0, 0] for cls in ("mean", "whole"))
    assert mean == pytest.approx(196 / 16, abs=0.01) and whole == pytest.approx(196 / 49, abs=0.1)


def test_one_picture_s_tiles_at_a_time_and_each_alone_gives_the_same() -> None:
    inner = Means()
    encoder = TiledEncoder(inner, (3, 3))
    pictures = [noise(90, 120, i) for i in range(5)]
    together = encoder.encode(pictures)
    assert inner.most == 9
    alone = np.concatenate([encoder.encode([p]).layers["last"] for p in pictures])
    np.testing.assert_array_equal(together.layers["last"], alone)
    nothing = encoder.encode([])
    assert nothing.cls.shape == (0, 3) and nothing.layers["last"].shape == (0, 100, 3)


def test_the_id_tells_the_tiling() -> None:
    ids = {
        TiledEncoder(Means(), tiles, overlap, cls).id
        for tiles in ((1, 2), (2, 1), (2, 2))
        for overlap in (0.0, 0.25)
        for cls in ("mean", "whole")
    }
    assert len(ids) == 12 and all(i.startswith("means/tiles-") for i in ids)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tiles", {"tiles": (0, 2)}),
        ("tiles", {"tiles": (2, 33)}),
        ("tiles", {"tiles": (2,)}),
        ("overlap", {"overlap": 0.6}),
        ("overlap", {"overlap": -0.1}),
        ("cls", {"cls": "first"}),
        ("options", {"resolution": 448}),
        ("encoder", {"patch": 13}),
        ("tiles", {"encoder": Means(fit="pad"), "tiles": (1, 2)}),
    ],
)
def test_wrong_arguments_are_named(name: str, wrong: dict) -> None:
    with pytest.raises(InputError, match=name):
        TiledEncoder(**{"encoder": Means(), **wrong})


def test_an_encoder_of_other_patches_is_told() -> None:
    class Coarse(Means):
        def encode(self, frames, layers=("last",)) -> Tokens:
            tokens = super().encode(frames, layers)
            return Tokens(
                tokens.cls, {"last": tokens.layers["last"][:, :4]}, (2, 2), tokens.scale, tokens.offset
            )

    with pytest.raises(InputError, match="grid"):
        TiledEncoder(Coarse()).encode([noise(60, 60)])


def test_a_detector_sees_a_small_stain_through_tiles(toy_eyes, plates) -> None:
    detector = SubspaceAD(encoder=TiledEncoder(toy_eyes(56), (2, 2)), rotations=0).fit(plates(12, 1))
    odd = plates(4, 2)
    for picture in odd:
        picture[70:80, 60:70] = (200, 40, 40)
    scores = detector.score([*plates(4, 3), *odd])
    assert scores.maps.shape == (8, 98, 98) and scores.values[4:].min() > scores.values[:4].max()
    y, x = np.unravel_index(scores.maps[4].argmax(), (98, 98))
    assert abs(y - 75 * 98 / 96) < 14 and abs(x - 65 * 98 / 96) < 14


def test_by_name_and_with_the_packaged_encoder() -> None:
    encoder = TiledEncoder("patches", (1, 2), resolution=112, threads=1)
    tokens = encoder.encode_up_to([noise(60, 100)], ("block_3",))
    assert tokens.layers["block_3"].shape == (1, 8 * 14, 384) and tokens.grid == (8, 14)
    np.testing.assert_array_equal(
        tokens.layers["block_3"], encoder.encode([noise(60, 100)], ("block_3",)).layers["block_3"]
    )


def test_stopping_early_gives_the_very_same_tokens() -> None:
    encoder = PatchEncoder(112, threads=1)
    pictures = [noise(60, 100), noise(90, 40, 1)]
    full = encoder.encode(pictures, LAYERS)
    for layers in (("block_1",), ("block_6", "block_9", "block_7"), ("last",)):
        short = encoder.encode_up_to(pictures, layers)
        assert list(short.layers) == list(layers) and short.grid == full.grid
        for name in layers:
            np.testing.assert_array_equal(short.layers[name], full.layers[name])
    np.testing.assert_array_equal(short.cls, full.cls)
    with pytest.raises(InputError, match="layers"):
        encoder.encode_up_to(pictures, ())
    with pytest.raises(InputError, match="block_13"):
        encoder.encode_up_to(pictures, ("block_13",))


def test_the_short_graph_leaves_the_rest_out() -> None:
    graph = weights.path("patches").read_bytes()
    short = shortened(graph, ["block_2"])
    assert [o.name for o in session(short, 1).get_outputs()] == ["block_2"]
    assert len(short) < 0.3 * len(graph)
    assert shortened(graph, LAYERS) == graph
    for wrong in (["block_13"], []):
        with pytest.raises(ValueError, match="outputs"):
            shortened(graph, wrong)
    for broken in (graph[: len(graph) // 2], b"\x3a\xff", b"\x0b"):
        with pytest.raises(ValueError, match=r"ends within|wire type"):
            shortened(broken, ["block_2"])


def test_another_graph_is_run_whole(tmp_path) -> None:
    (tmp_path / "own.onnx").write_bytes(weights.path("patches").read_bytes())
    own, packaged = PatchEncoder(28, threads=1, model=tmp_path / "own.onnx"), PatchEncoder(28, threads=1)
    a, b = (e.encode_up_to([noise(30, 30)], ("block_2",)) for e in (own, packaged))
    assert not own._short and packaged._short
    np.testing.assert_array_equal(a.layers["block_2"], b.layers["block_2"])
    np.testing.assert_array_equal(a.cls, b.cls)
