"""Frame prediction: parameter counts, worked losses, exchangeable parts, drawn squares, the first frames, keeping."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video.notes import Notes, joined
from oddwatch.metrics.ranking import auroc

torch = pytest.importorskip("torch")

from oddwatch.detectors.video import predict, prednet  # noqa: E402
from oddwatch.detectors.video.predict import FramePrediction, Reach  # noqa: E402


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


def squares(seed: int, frames: int = 60, fast: range | None = None, side: int = 48) -> Notes:
    """Three bright rectangles that move sideways and around; the first one four times as fast in some frames."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, side, 3), rng.integers(0, side - 6, 3)
    speed = rng.uniform(0.8, 1.2, 3) * rng.choice([-1, 1], 3)
    pictures = np.empty((frames, side, side))
    columns = np.arange(side)
    for t in range(frames):
        picture = np.full((side, side), -0.8)
        for i in range(3):
            x[i] += speed[i] * (4 if i == 0 and fast is not None and t in fast else 1)
            cover = np.clip(8 - ((columns - x[i]) % side), 0, 1) + np.clip(
                1 - ((x[i] - columns) % side), 0, 1
            )
            picture[y[i] : y[i] + 6] = np.maximum(picture[y[i] : y[i] + 6], -0.8 + 1.4 * np.minimum(cover, 1))
        pictures[t] = picture + rng.normal(0, 0.02, picture.shape)
    small = np.clip((pictures + 1) * 127.5, 0, 255).astype(np.uint8)
    return Notes(f"squares {seed}", (2 * side, 2 * side), np.arange(frames) / 25, small=small)


def small(**arguments) -> FramePrediction:
    return FramePrediction(**{"base": 4, "levels": 2, "steps": 4, "batch": 2, **arguments})


def test_the_parameters_of_the_specification():
    assert count(prednet.unet(torch, channels=3)) == 7_707_011
    assert count(prednet.patch_critic(torch)) == 6_831_489
    assert 29_000 < count(prednet.unet(torch, base=8, levels=3)) < 31_000
    assert count(prednet.unet(torch, base=8, channels=3)) == 122_035
    assert round(count(prednet.unet(torch, base=16, channels=3)), -3) == 484_000


def test_a_later_method_fits_in():
    """FoGA's gates on the ways across and its two heads (arXiv 2601.18135): 2,147,014 numbers; at 8 channels 135,862."""

    class Gate(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            conv, part = torch.nn.Conv2d, width // 4
            self.wide = torch.nn.ModuleList([conv(width, part, 3, padding=d, dilation=d) for d in (1, 2, 4)])
            self.below, self.mix, self.gate = (
                conv(width, part, 1),
                conv(width, width, 1),
                conv(2 * width, width, 1),
            )

        def forward(self, across, x):
            mixed = self.mix(torch.cat([*(w(across) for w in self.wide), self.below(x)], 1))
            whole = x.mean((2, 3), keepdim=True).expand_as(mixed)
            g = self.gate(torch.cat([whole, mixed], 1)).sigmoid()
            return g * mixed + (1 - g) * across

    assert count(prednet.unet(torch, channels=3, base=32, heads=2, skip=Gate)) == 2_147_014
    net = prednet.unet(torch, channels=3, base=8, heads=2, skip=Gate)
    assert count(net) == 135_862
    assert net(torch.zeros(1, 4, 3, 16, 16)).shape == (1, 2, 3, 16, 16)


def test_the_critic_sees_35_by_35_patches():
    critic = prednet.patch_critic(torch, widths=(2, 2, 2, 2))
    assert critic(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 35, 35)


def test_the_losses_of_the_specification():
    target = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert float(prednet.gradient(torch.zeros(2, 2), target)) == pytest.approx(1.25)
    assert float(prednet.intensity(torch.zeros(2, 2), target)) == pytest.approx(0.5)
    assert float(prednet.critic_loss(torch.tensor([0.8]), torch.tensor([0.3]))) == pytest.approx(0.065)
    assert float(prednet.fooling_loss(torch.tensor([0.3]))) == pytest.approx(0.245)


def test_frames_of_any_size_come_back_in_it():
    net = prednet.unet(torch, frames=3, base=4, levels=3, heads=2)
    assert net(torch.zeros(2, 3, 1, 21, 34)).shape == (2, 2, 1, 21, 34)


def test_parts_are_exchangeable():
    class Blocked(torch.nn.Module):
        def forward(self, x):
            return x * 0

    class First(torch.nn.Module):
        def forward(self, across, x):
            return across

    class Join(torch.nn.Module):
        def forward(self, x):
            return x.mean(1)

    clip = torch.rand(2, 4, 1, 16, 16)

    def made(**parts):
        torch.manual_seed(0)
        return prednet.unet(torch, base=4, levels=3, **parts).eval()

    with torch.no_grad():
        plain = made()(clip)
        assert torch.equal(made(skip=lambda width: First())(clip), plain)
        assert torch.equal(made(filters=lambda width: torch.nn.Identity())(clip), plain)
        assert not torch.equal(made(filters=lambda width: Blocked())(clip), plain)
        alone = made(filters=lambda width: Join(), per_frame=True)
        assert alone(clip).shape == plain.shape
    with pytest.raises(InputError, match="joins"):
        prednet.unet(torch, per_frame=True)


def test_flow_is_measured_and_lets_gradients_through():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")

    def pattern(dx: float, dy: float):
        return (torch.sin((columns - dx) / 3) + torch.cos((rows - dy) / 4))[None, None]

    flow = prednet.lucas_kanade(torch, pattern(0, 0), pattern(0.5, -0.25))[0, :, 5:-5, 5:-5]
    assert flow[0].mean() == pytest.approx(0.5, abs=0.05) and flow[1].mean() == pytest.approx(-0.25, abs=0.05)
    drawn = pattern(0, 0)[:, None].clone().requires_grad_()
    clip = pattern(0, 0)[:, None]
    prednet.flow_term(torch)(drawn, pattern(0.5, 0)[:, None], clip).backward()
    assert float(drawn.grad.abs().sum()) > 0


def test_windows_and_what_lies_ahead():
    clip = (np.arange(10, dtype=np.uint8) * np.ones((3, 3, 1), np.uint8)).transpose(2, 0, 1)
    reach = Reach(2, 2, (1, 2))
    assert (reach.length, reach.count(10), reach.count(3)) == (7, 4, 0)
    ((at, seen, true),) = reach.all(torch, clip)
    assert at.tolist() == [4, 5, 6, 7]
    back = lambda x: np.rint((x[:, :, 0, 0, 0].numpy() + 1) * 127.5).astype(int).tolist()  # noqa: E731
    assert back(seen)[0] == [0, 2] and back(true)[0] == [4, 6]
    assert back(seen)[3] == [3, 5] and back(true)[3] == [7, 9]


def test_batches_are_of_one_size():
    clips = [np.zeros((6, 4, 4), np.uint8), np.zeros((9, 4, 6), np.uint8)]
    draw = Reach().draws(torch, clips, 3, np.random.default_rng(0))
    shapes = {draw()[0].shape for _ in range(20)}
    assert shapes == {(3, 4, 1, 4, 4), (3, 4, 1, 4, 6)}


@pytest.mark.slow
def test_a_fast_square_is_found():
    """The fixture of the specification: raw above 0.95, and above what each clip's own scale leaves of it."""
    detector = FramePrediction(levels=3, steps=300).fit([squares(s) for s in range(8)])
    fast = range(30, 50)
    clips = [squares(100 + s, 80, fast) for s in range(4)] + [squares(200 + s, 80) for s in range(2)]
    labels = np.concatenate([np.isin(np.arange(80), fast) & (i < 4) for i in range(6)]).astype(int)
    curves = [detector.curve(c) for c in clips]
    raw = auroc(labels, np.concatenate([c.values for c in curves])).value
    published = FramePrediction(**{**detector.arguments(), "per_video": True})
    published.restore(detector.state())
    published.fitted = True
    scaled = auroc(labels, np.concatenate([published.curve(c).values for c in clips])).value
    assert raw > 0.95 and raw > scaled


def test_training_helps_and_the_fast_square_is_pointed_at():
    clips = [squares(s, 30, side=32) for s in range(3)]
    detector = small(base=8, steps=60, batch=4).fit(clips)
    assert detector.usual < small(base=8, steps=1, batch=4).fit(clips).usual - 3
    curve = detector.curve(squares(9, 30, range(15, 25), side=32))
    assert curve.values[17:24].mean() > curve.values[6:13].mean() + 1
    place = max(curve.places, key=lambda p: p.score)
    assert 15 <= place.index < 26 and place.box is not None and place.box.x1 <= 64


def test_the_first_frames_are_as_usual():
    detector = small(sigma=0).fit([squares(0, 12, side=16)])
    curve = detector.curve(squares(1, 12, side=16))
    assert curve.values[:4].tolist() == [0] * 4 and (curve.values[4:] != 0).all()
    assert [p.index for p in curve.places] == list(range(4, 12))
    assert detector.curve(squares(1, 3, side=16)).values.tolist() == [0] * 3


def test_flow_and_adversary_can_be_switched_on():
    clips = [squares(s, 12, side=32) for s in range(2)]
    plain, both = small().fit(clips), small(flow=2.0, fool=0.05).fit(clips)
    values = both.curve(clips[0]).values
    assert np.isfinite(values).all() and not np.array_equal(values, plain.curve(clips[0]).values)


def test_the_adversary_learns():
    torch.manual_seed(0)
    critic = prednet.patch_critic(torch, channels=1, widths=(4, 4))
    net = prednet.unet(torch, base=4, levels=2)
    draw = Reach().draws(torch, [squares(0, 12, side=16).small], 4, np.random.default_rng(0))
    before = [p.clone() for p in critic.parameters()]
    losses = prednet.train(
        torch, net, draw, {prednet.intensity: 1.0}, steps=3, lr=1e-3, critic=critic, critic_lr=1e-3
    )
    assert len(losses) == 3
    assert not all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))


def test_equal_seeds_give_equal_curves_and_are_kept():
    clips = [squares(s, 12, side=16) for s in range(2)]
    first, second = small().fit(clips), small().fit(clips)
    again = small()
    again.restore(first.state())
    again.fitted = True
    values = first.curve(clips[1]).values
    assert np.array_equal(values, second.curve(clips[1]).values)
    assert np.array_equal(values, again.curve(clips[1]).values)


@pytest.mark.parametrize("rule", ["mse", "ssim", "block_max"])
def test_other_rules(rule):
    detector = small(rule=rule).fit([squares(0, 12, side=16)])
    assert np.isfinite(detector.curve(squares(1, 12, side=16)).values).all()


def test_the_worst_window():
    error = np.zeros((1, 12, 18))
    error[0, 3:5, 10:12] = 1
    (place,) = predict.worst(np.array([7]), np.array([2.0]), error, (120, 180))
    assert place.index == 7 and place.score == 2 and place.box is not None
    assert place.box.x0 <= 100 and place.box.x1 >= 120 and place.box.y0 <= 30 and place.box.y1 >= 50


def test_small_frames_are_kept_and_joined(tmp_path):
    notes = squares(0, 6, side=8)
    assert notes.has("small")
    again = Notes.load(notes.save(tmp_path / "notes.npz"))
    assert np.array_equal(again.small, notes.small)
    later = Notes(notes.name, notes.size, notes.times + 1, small=notes.small)
    assert joined([notes, later]).small.shape == (12, 8, 8)
    with pytest.raises(InputError, match="small"):
        Notes("a", (8, 8), np.arange(5.0), small=notes.small)


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="small frames"):
        small().fit([squares(0, 4, side=16)])


@pytest.mark.parametrize("wrong", [{"context": 0}, {"lr": 0}, {"flow": -1}, {"rule": "colour"}])
def test_wrong_arguments(wrong):
    with pytest.raises(InputError):
        FramePrediction(**wrong)


def test_a_diverging_training_is_told():
    with pytest.raises(InputError, match="loss became"):
        small(lr=1e30, steps=20).fit([squares(0, 12, side=16)])
