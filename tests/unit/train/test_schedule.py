"""Learning rates and parameter groups (search §2.4 S7, §5.5, §5.10 C-7)."""

import pytest

from oddwatch.core import InputError
from oddwatch.train.schedule import linear_schedule, parameter_groups, step_schedule


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0),
        (250, 5e-5),
        (500, 1e-4),
        (1999, 8.4221e-5),
        (2000, 4.2105e-5),
        (3499, 3.4216e-5),
        (3500, 1.3684e-5),
        (10_000, 0),
    ],
)
def test_s7_step_schedule(step, rate):
    assert step_schedule(step, 10_000, warmup=500, base=1e-4) == pytest.approx(rate, rel=2e-5, abs=1e-12)


def test_linear_schedule_warms_up_over_a_tenth_and_ends_where_asked():
    assert [linear_schedule(s, 1000, base=1.0) for s in (0, 50, 100, 550, 1000, 1200)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0, 0]
    )
    assert linear_schedule(0, 100, warmup=0, base=1e-4, final=1e-5) == pytest.approx(1e-4)
    assert linear_schedule(100, 100, warmup=0, base=1e-4, final=1e-5) == pytest.approx(1e-5)


@pytest.mark.parametrize(("step", "total", "warmup"), [(-1, 10, 0), (0, 10, 10), (0, 0, 0)])
def test_a_schedule_that_cannot_be_is_an_input_error(step, total, warmup):
    with pytest.raises(InputError, match="warm-up"):
        step_schedule(step, total, warmup)


class Parameter:
    def __init__(self, requires_grad=True, ndim=2):
        self.requires_grad, self.ndim = requires_grad, ndim


NAMES = {
    "vision_encoder.layers.0.blocks.0.attn.qkv.weight": "decay",
    "vision_encoder.layers.0.blocks.0.norm1.weight": "no decay",
    "vision_encoder.layers.0.blocks.0.norm1.bias": "no decay",
    "vision_encoder.layers.3.blocks.0.attn.qkv.weight": "faster, decay",
    "vision_encoder.layers.2.blocks.17.mlp.fc1.bias": "faster, no decay",
    "text_encoder.bert.encoder.layer.1.output.dense.weight": "decay",
    "text_encoder.bert.encoder.layer.10.output.dense.weight": "faster, decay",
    "text_encoder.bert.encoder.layer.4.output.LayerNorm.weight": "faster, no decay",
    "text_encoder.cls.predictions.bias": "faster, no decay",
    "vision_proj.weight": "faster, decay",
    "itm_head.0.weight": "faster, decay",
    "itm_head.1.weight": "faster, no decay",
    "vision_encoder.layers.0.blocks.0.attn.relative_position_bias_table": "no decay",
    "pose_block.norm.weight": "faster, no decay",
    "temp": "no decay",
}
NO_MATRIX = {"temp", "itm_head.1.weight"} | {n for n in NAMES if "norm" in n.lower() or n.endswith("bias")}


def test_c7_every_trainable_parameter_is_in_exactly_one_of_four_groups():
    named = {name: Parameter(ndim=1 if name in NO_MATRIX else 2) for name in NAMES} | {
        "frozen.weight": Parameter(False)
    }
    groups = parameter_groups(named.items(), lr=1e-4)
    assert [g["name"] for g in groups] == ["decay", "no decay", "faster, decay", "faster, no decay"]
    where = [(name, g["name"]) for g in groups for name in g["names"]]
    assert sorted(where) == sorted(NAMES.items())
    assert [p for g in groups for p in g["params"]] == [named[n] for g in groups for n in g["names"]]
    assert [g["lr"] for g in groups] == [1e-4, 1e-4, 2e-4, 2e-4]
    assert [g["weight_decay"] for g in groups] == [0.01, 0, 0.01, 0]


def test_c7_on_a_real_module():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential()
    net.add_module("encoder", torch.nn.TransformerEncoderLayer(8, 2, 16))
    net.add_module("itm_head", torch.nn.Linear(8, 2))
    net.add_module("fixed", torch.nn.Linear(8, 2).requires_grad_(False))
    groups = parameter_groups(net.named_parameters())
    found = [id(p) for g in groups for p in g["params"]]
    assert sorted(found) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    assert len(torch.optim.AdamW(groups).param_groups) == 4


def test_rules_are_arguments_and_nothing_to_train_is_an_error():
    groups = parameter_groups(
        [("a.weight", Parameter()), ("b.weight", Parameter())], faster=["^b"], times=5, lr=1
    )
    assert [(g["names"], g["lr"]) for g in groups if g["names"]] == [(["a.weight"], 1), (["b.weight"], 5)]
    with pytest.raises(InputError, match="unfreeze"):
        parameter_groups([("a", Parameter(False))])
