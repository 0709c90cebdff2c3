"""The parts of X-VLM, X2-VLM and CMP: captions, position tables, pose maps, the checks C-1 to C-4 and M-3, and the
towers against transformers' own on the same small weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oddwatch.core import Box, InputError, Pose
from oddwatch.encoders.xvlm.model import squared
from oddwatch.encoders.xvlm.positions import relative_index, resize_table, window_side
from oddwatch.encoders.xvlm.skeleton import pose_map
from oddwatch.encoders.xvlm.text import clean_caption, token_ids

needs_torch = pytest.importorskip


@pytest.fixture
def torch() -> Any:
    found = needs_torch("torch", reason="needs the torch extra")
    found.manual_seed(0)
    return found


def test_s9_cleaning():
    assert clean_caption("A man, in a T-shirt/jeans!") == "a man in a t shirt jeans"
    assert clean_caption('  It\'s (so): #1 ~ "x"*;?\n a\tb ') == "its so 1 x a b"
    assert clean_caption("Don't.Stop", blank_signs=True) == "don t stop"
    assert clean_caption("a <person> falls") == "a person falls"
    assert clean_caption(" ,.!? ") == ""


def test_56_words_and_56_tokens():
    many = " ".join(f"w{i}" for i in range(80))
    assert clean_caption(many).split() == [f"w{i}" for i in range(56)]
    ids, mask = token_ids(["a man falls", "bicycle " * 80])
    assert ids.shape == mask.shape == (2, 56) and ids.dtype == mask.dtype == np.int64
    assert ids[0, :5].tolist() == [101, 1037, 2158, 4212, 102] and not ids[0, 5:].any()
    assert mask.sum(1).tolist() == [5, 56]
    assert ids[1, 0] == 101 and ids[1, -1] == 102 and len(set(ids[1, 1:-1])) == 1


@pytest.mark.parametrize("wrong", ["a man", ["a man", 3], ["a", ",.!"]])
def test_captions_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match="captions"):
        token_ids(wrong)


def test_relative_index_names_each_offset_once():
    side = 3
    index = relative_index(side)
    places = [(r, c) for r in range(side) for c in range(side)]
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            expected = (a[0] - b[0] + side - 1) * (2 * side - 1) + (a[1] - b[1] + side - 1)
            assert index[i, j] == expected
    with_class = relative_index(side, cls=True)
    np.testing.assert_array_equal(with_class[1:, 1:], index)
    assert set(with_class[0, 1:]) == {25} and set(with_class[1:, 0]) == {26} and with_class[0, 0] == 27


def test_window_side():
    assert [window_side(n) for n in (169, 529, 1, 168, 16, 0)] == [7, 12, 1, None, None, None]
    assert window_side(27 * 27 + 3, 3) == 14


@pytest.mark.parametrize("extra", [0, 3])
def test_a_table_keeps_its_ends_its_middle_and_its_own_rows_when_resized(extra):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(13 * 13 + extra, 4)).astype(np.float32)
    assert resize_table(table, 7, extra) is table
    large = resize_table(table, 12, extra)
    assert large.shape == (23 * 23 + extra, 4) and large.dtype == np.float32
    old, new = table[:169].reshape(13, 13, 4), large[:529].reshape(23, 23, 4)
    for i, j in ((0, 0), (6, 11), (12, 22), (5, 10), (7, 12)):  # the ends, no offset, and one step each way
        np.testing.assert_allclose(new[j, j], old[i, i], atol=1e-4)
    np.testing.assert_array_equal(large[529:], table[169:])
    flat = resize_table(np.full((169 + extra, 1), 2.5, np.float32), 12, extra)
    np.testing.assert_allclose(flat, 2.5, atol=1e-6)
    with pytest.raises(ValueError, match="square window"):
        resize_table(table[1:], 12, extra)


def keypoints(**named: tuple[float, float]) -> Pose:
    from oddwatch.core import KEYPOINTS

    points = np.zeros((17, 3), np.float32)
    for name, (x, y) in named.items():
        points[KEYPOINTS.index(name)] = x, y, 0.9
    return Pose(points)


def test_a_pose_map_draws_bones_between_joints_that_were_seen():
    pose = keypoints(left_shoulder=(40, 10), left_elbow=(40, 50), right_knee=(10, 80))
    drawn = pose_map(pose, 60, 90)
    assert drawn.shape == (90, 60, 3) and drawn.dtype == np.uint8
    assert drawn[30, 40].any() and drawn[80, 10].any()  # the upper arm, and a knee without a leg
    assert not drawn[60:70].any() and not drawn[:, 48:].any() and not drawn[30, :35].any()
    assert not pose_map([], 60, 90).any() and not pose_map(Pose(np.zeros((17, 3), np.float32)), 60, 90).any()
    other = pose_map(keypoints(right_shoulder=(40, 10), right_elbow=(40, 50)), 60, 90)
    assert (other[30, 40] != drawn[30, 40]).any()  # left and right differ in hue
    both = pose_map(keypoints(left_shoulder=(40, 10), right_shoulder=(20, 10), nose=(30, 2)), 60, 90)
    assert both[10, 30].any() and both[6, 30].any()  # the neck lies between the shoulders


def test_a_pose_map_of_a_box_is_the_box_enlarged():
    pose = keypoints(left_shoulder=(120, 210), left_elbow=(140, 250))
    drawn = pose_map(pose, 100, 100, Box(100, 200, 150, 260))
    rows, columns = np.nonzero(drawn.any(2))
    # (120, 210) → (40, 16.7) and (140, 250) → (80, 83.3)
    assert abs(rows.min() - 16.7) < 4 and abs(rows.max() - 83.3) < 4
    assert abs(columns.min() - 40) < 4 and abs(columns.max() - 80) < 4
    for box, width in ((Box(5, 5, 5, 9), 10), (None, 0), (None, 10**9)):
        with pytest.raises(InputError):
            pose_map(pose, width, 10, box)


def test_m3_a_lying_person_keeps_her_shape_in_the_square_input():
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[200:240, 60:220] = 255  # 160 wide, 40 high

    def ratio(pixels: np.ndarray) -> float:
        rows, columns = np.nonzero(pixels[..., 0] > 127)
        return float(np.ptp(columns) + 1) / (np.ptp(rows) + 1)

    from PIL import Image

    upright = np.asarray(Image.fromarray(picture).resize((128, 384), Image.Resampling.BICUBIC))
    assert squared(picture, 224).shape == (224, 224, 3)
    assert ratio(squared(picture, 224)) == pytest.approx(ratio(picture), rel=0.05)
    assert ratio(upright) / ratio(picture) == pytest.approx((128 / 300) / (384 / 300), rel=0.05)


def test_c1_three_windows(torch):
    from oddwatch.encoders.xvlm.nets import three_means

    for count, expected in ((49, [8, 24, 40]), (55, [9, 27, 45])):
        tokens = torch.arange(count, dtype=torch.float32).view(1, count, 1)
        assert [float(part[0, 0]) for part in three_means(tokens)] == expected


def test_c2_pose_block(torch):
    from oddwatch.encoders.xvlm.nets import PoseBlock

    block = PoseBlock(1024)
    assert block.attn.heads == 16
    with torch.inference_mode():
        picture, pose = torch.randn(2, 50, 1024), torch.randn(2, 50, 1024)
        added = block(picture, pose) - picture
        assert added.shape == (2, 50, 1024) and float(added.abs().max()) > 1e-2
        swapped = list(range(50))
        swapped[3], swapped[9] = 9, 3
        torch.testing.assert_close(
            block(picture, pose[:, swapped]) - picture, added[:, swapped], atol=1e-5, rtol=0
        )
        moved = picture[:, swapped]
        torch.testing.assert_close(block(moved, pose) - moved, added, atol=1e-5, rtol=0)
        q, proj = block.attn.q, block.attn.proj
        q.weight.zero_(), q.bias.zero_()
        uniform = block(picture, pose) - picture
        torch.testing.assert_close(uniform, uniform[:, :1].expand_as(uniform), atol=1e-5, rtol=0)
        proj.weight.zero_(), proj.bias.zero_()
        assert torch.equal(block(picture, pose), picture)


def test_c3_pose_convolutions(torch):
    from oddwatch.encoders.xvlm.nets import PoseConv

    for training in (True, False):
        with torch.no_grad():
            out = PoseConv().train(training)(torch.randn(2, 3, 20, 28))
        assert out.shape == (2, 3, 20, 28) and float(out.min()) >= 0 and float(out.max()) > 0


def test_c4_the_first_token_is_the_mean_of_the_others(torch):
    from oddwatch.encoders.xvlm.beit import Beit
    from oddwatch.encoders.xvlm.swin import Swin

    with torch.inference_mode():
        for tower in (Swin(224, 8, (1, 1, 2, 1), (1, 2, 4, 8)), Beit(112, 16, 24, 2, 3)):
            tokens = tower(torch.randn(2, 3, *([224, 224] if isinstance(tower, Swin) else [112, 112])))
            assert tokens.shape[1] == 50
            torch.testing.assert_close(tokens[:, 0], tokens[:, 1:].mean(1), atol=1e-6, rtol=0)


def randomised(torch: Any, net: Any) -> Any:
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return net.eval()


def test_text_tower_equals_transformers_bert(torch):
    transformers = needs_torch("transformers")
    from oddwatch.encoders.xvlm.bert import TextEncoder

    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=20, attn_implementation="eager",
    )  # fmt: skip
    theirs = randomised(torch, transformers.BertModel(config, add_pooling_layer=False))
    ours = TextEncoder(100, 20, 32, 4, 48, 5, 3, 24).eval()
    told = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not told.unexpected_keys and all(
        n.startswith(("encoder.layer.3", "encoder.layer.4")) for n in told.missing_keys
    )
    ids = torch.randint(1, 100, (3, 12))
    mask = torch.tensor([[1] * n + [0] * (12 - n) for n in (12, 7, 2)])
    with torch.inference_mode():
        expected = theirs(ids, attention_mask=mask).last_hidden_state
        found = ours(ids, mask)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        # The upper half reads the text it is given as well as the picture, and no padding.
        picture = torch.randn(3, 9, 24)
        fused = ours.fuse(found, mask, picture)
        torch.testing.assert_close(ours.fuse(found[:, :12], mask, picture)[0], fused[0])
        cut = ours.fuse(found[1:2, :7], mask[1:2, :7], picture[1:2])
        torch.testing.assert_close(cut[0], fused[1, :7], atol=1e-5, rtol=0)
        assert float((ours.fuse(found, mask, picture.flip(0)) - fused)[0].abs().max()) > 1e-3


def test_cross_attention_equals_transformers_bert_layer(torch):
    transformers = needs_torch("transformers")
    from transformers.models.bert.modeling_bert import BertLayer

    from oddwatch.encoders.xvlm.bert import Layer

    config = transformers.BertConfig(
        hidden_size=32, num_attention_heads=4, intermediate_size=48, is_decoder=True, add_cross_attention=True,
        attn_implementation="eager",
    )  # fmt: skip
    theirs = randomised(torch, BertLayer(config))
    ours = Layer(32, 4, 48, 32).eval()
    ours.load_state_dict(theirs.state_dict())
    text, picture = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    with torch.inference_mode():
        found = ours(text, torch.ones(2, 1, 1, 5, dtype=torch.bool), picture)
        expected = theirs(text, torch.zeros(2, 1, 1, 5), encoder_hidden_states=picture)
        expected = expected[0] if isinstance(expected, tuple) else expected
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_pair_by_pair(torch, shifted):
    from oddwatch.encoders.xvlm.swin import Block

    grid, window, heads, width = 9, 3, 2, 8
    block = randomised(torch, Block(width, heads, grid, window, shifted))
    x = torch.randn(1, grid, grid, width)
    shift = window // 2 if shifted else 0
    found_pairs = 0
    with torch.inference_mode():
        qkv = block.attn.qkv(block.norm1(x))[0].reshape(grid, grid, 3, heads, width // heads)
        table = block.attn.relative_position_bias_table
        mixed = torch.zeros(grid, grid, heads, width // heads)
        places = [(r, c) for r in range(grid) for c in range(grid)]
        for r, c in places:
            # Windows start at ``shift``; before it lies a narrower one, and none reaches round the border.
            near = [(i, j) for i, j in places if (i - shift) // window == (r - shift) // window
                    and (j - shift) // window == (c - shift) // window]  # fmt: skip
            found_pairs += len(near)
            rows = [(r - i + window - 1) * (2 * window - 1) + (c - j + window - 1) for i, j in near]
            keys = torch.stack([qkv[i, j, 1] for i, j in near])
            values = torch.stack([qkv[i, j, 2] for i, j in near])
            logits = (keys * qkv[r, c, 0]).sum(-1) / (width // heads) ** 0.5 + table[rows]
            mixed[r, c] = (logits.softmax(0)[..., None] * values).sum(0)
        y = x + block.attn.proj(mixed.reshape(1, grid, grid, width))
        expected = y + block.mlp(block.norm2(y))
        torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=0)
    assert found_pairs == (81 * 9 if not shifted else (1 + 9 + 9 + 4) ** 2)


def test_beit_attention_against_plain_attention(torch):
    from oddwatch.encoders.xvlm.beit import Attention

    attention = randomised(torch, Attention(16, 2, 3))
    x = torch.randn(2, 10, 16)
    with torch.inference_mode():
        weight, index = attention.qkv.weight, torch.from_numpy(relative_index(3, cls=True))
        q = x @ weight[:16].T + attention.q_bias
        k, v = x @ weight[16:32].T, x @ weight[32:].T + attention.v_bias
        heads = []
        for h in range(2):
            part = slice(8 * h, 8 * h + 8)
            logits = q[..., part] @ k[..., part].transpose(1, 2) / 8**0.5
            logits = logits + attention.relative_position_bias_table[:, h][index]
            heads.append(logits.softmax(-1) @ v[..., part])
        expected = attention.proj(torch.cat(heads, -1))
        torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=0)


def test_the_rows_and_cards_are_there():
    from oddwatch.core import resolve
    from oddwatch.encoders import CARDS, ENCODERS
    from oddwatch.encoders.xvlm import model

    for name, kind in model.BY_FAMILY.items():
        assert resolve(ENCODERS, name, "encoder") is kind and "extra torch" in CARDS[name].needs
