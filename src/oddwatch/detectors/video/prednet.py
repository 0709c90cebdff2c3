"""The chassis of methods that predict frames: a U-Net with exchangeable parts, its losses, an adversary, one training loop.

Liu et al., CVPR 2018 (arXiv 1712.09867). A network maps clips (B, T, C, H, W) in [−1, 1] to frames (B, heads, C, H, W). What
later methods change are arguments: ``filters`` between encoder and decoder (memories, sparse bottlenecks, attention over
frames), ``skip`` on the way across (gates), ``per_frame`` (the encoder sees each frame alone), ``heads`` (frames farther
ahead), ``terms`` of the loss. Everything works without the adversary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oddwatch.core import InputError, ModelError

Term = Callable[[Any, Any, Any], Any]
"""``term(predicted, true, clip)``: frames (B, heads, C, H, W) twice and the clip (B, T, C, H, W), to one number."""


def unet(
    torch: Any,
    *,
    frames: int = 4,
    channels: int = 1,
    base: int = 64,
    levels: int = 4,
    heads: int = 1,
    per_frame: bool = False,
    filters: Callable[[int], Any] | None = None,
    skip: Callable[[int], Any] | None = None,
) -> Any:
    """The network as a torch module: ``base`` channels at full size, doubled at each of the ``levels`` below it.

    ``filters(width)`` makes the module between encoder and decoder, (B, width, h, w) to the same; with ``per_frame`` it gets
    (B, T, width, h, w) and the decoder the skips of the last frame. ``skip(width)`` makes the module that each way across
    goes through, of (encoder's, decoder's) maps of one size to one of it. Frames of any size: they are padded by their
    border to what the levels divide, and cut again.

    Raises:
        InputError: fewer than one frame, channel, level or head, or frames encoded one by one without ``filters`` to join them.
    """
    if min(frames, channels, base, levels, heads) < 1:
        raise InputError("network", "expected at least one frame, channel, base, level and head")
    if per_frame and filters is None:
        raise InputError("filters", "expected a module that joins the frames that are encoded one by one")
    nn, functional = torch.nn, torch.nn.functional
    widths = [base * 2**i for i in range(levels)]

    def twice(inputs: int, outputs: int) -> Any:
        layers: list[Any] = []
        for i in (inputs, outputs):
            layers += [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    class UNet(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            first = channels if per_frame else channels * frames
            self.down = nn.ModuleList([twice(i, o) for i, o in zip([first, *widths], widths, strict=False)])
            self.filter = filters(widths[-1]) if filters else None
            ways = list(reversed(widths[:-1]))
            self.up = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, 2) for w in ways])
            self.skip = nn.ModuleList([skip(w) for w in ways] if skip else [])
            self.join = nn.ModuleList([twice(2 * w, w) for w in ways])
            self.heads = nn.ModuleList([nn.Conv2d(base, channels, 3, padding=1) for _ in range(heads)])

        def encode(self, x: Any) -> list[Any]:
            maps = []
            for i, block in enumerate(self.down):
                x = block(functional.max_pool2d(x, 2) if i else x)
                maps.append(x)
            return maps

        def forward(self, clip: Any) -> Any:
            b, t, c, h, w = clip.shape
            side = 2 ** (levels - 1)
            x = clip.reshape(b * t, c, h, w) if per_frame else clip.reshape(b, t * c, h, w)
            x = functional.pad(x, (0, -w % side, 0, -h % side), mode="replicate")
            maps = self.encode(x)
            if per_frame:
                maps = [m.reshape(b, t, *m.shape[1:]) for m in maps]
            x = maps[-1] if self.filter is None else self.filter(maps[-1])
            for i, (up, join) in enumerate(zip(self.up, self.join, strict=True)):
                across = maps[-2 - i][:, -1] if per_frame else maps[-2 - i]
                x = up(x)
                x = join(torch.cat([self.skip[i](across, x) if len(self.skip) else across, x], 1))
            return torch.stack([head(x).tanh() for head in self.heads], 1)[..., :h, :w]

    return UNet()


def patch_critic(torch: Any, *, channels: int = 3, widths: tuple[int, ...] = (128, 256, 512, 512)) -> Any:
    """The adversary as a torch module: frames (B, C, H, W) to maps (B, 1, h, w) of 0–1, how true each patch looks.

    4 × 4 convolutions, halving the size but for the last of ``widths`` and the output.
    """
    nn = torch.nn
    layers: list[Any] = []
    for i, (a, b) in enumerate(zip((channels, *widths), widths, strict=False)):
        stride = 1 if i == len(widths) - 1 else 2
        layers += [nn.Conv2d(a, b, 4, stride, 2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 2), nn.Sigmoid())


# -- losses: torch tensors, one number -----------------------------------------------------------------------------


def intensity(predicted: Any, true: Any, clip: Any = None) -> Any:
    """Mean squared error."""
    return (predicted - true).square().mean()


def gradient(predicted: Any, true: Any, clip: Any = None) -> Any:
    """Mean over pixels of how much the absolute steps to the right and down differ; beyond the border is 0."""
    total = 0.0
    for axis in (-1, -2):
        total = total + (_steps(true, axis) - _steps(predicted, axis)).abs().mean()
    return total


def _steps(x: Any, axis: int) -> Any:
    beyond = x.narrow(axis, 0, 1) * 0
    return x.diff(dim=axis, append=beyond).abs()


def flow_term(torch: Any, flow: Callable[[Any, Any], Any] | None = None) -> Term:
    """Mean absolute difference of the flow from the clip's last frame to the predicted one and to the true one.

    ``flow(from, to)`` of frames (B, C, H, W) must let gradients through; by default :func:`lucas_kanade` (paper: a frozen
    FlowNet2, which is not there offline).
    """
    measure = flow or (lambda a, b: lucas_kanade(torch, a, b))

    def term(predicted: Any, true: Any, clip: Any) -> Any:
        last = clip[:, -1]
        with torch.no_grad():
            wanted = measure(last, true[:, 0])
        return (measure(last, predicted[:, 0]) - wanted).abs().mean()

    return term


def lucas_kanade(torch: Any, before: Any, after: Any, side: int = 7, damping: float = 1e-3) -> Any:
    """(B, 2, H, W) pixels a frame to the right and down between frames (B, C, H, W): one least-squares step in windows of
    ``side`` pixels (Lucas and Kanade, IJCAI 1981), right for movements of about a pixel; ``damping`` where nothing is seen."""
    a, b = before.mean(1, keepdim=True), after.mean(1, keepdim=True)
    both = torch.nn.functional.pad((a + b) / 2, (1, 1, 1, 1), mode="replicate")
    gx = (both[..., 1:-1, 2:] - both[..., 1:-1, :-2]) / 2
    gy = (both[..., 2:, 1:-1] - both[..., :-2, 1:-1]) / 2
    gt = b - a

    def near(x: Any) -> Any:
        return torch.nn.functional.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)

    xx, yy, xy, xt, yt = (
        near(gx * gx) + damping,
        near(gy * gy) + damping,
        near(gx * gy),
        near(gx * gt),
        near(gy * gt),
    )
    det = xx * yy - xy * xy
    return torch.cat([(xy * yt - yy * xt) / det, (xy * xt - xx * yt) / det], 1)


def critic_loss(real: Any, fake: Any) -> Any:
    """The adversary's: ½ (D(real) − 1)² + ½ D(fake)², means (LSGAN, arXiv 1611.04076)."""
    return (real - 1).square().mean() / 2 + fake.square().mean() / 2


def fooling_loss(fake: Any) -> Any:
    """The predictor's: ½ (D(fake) − 1)², mean."""
    return (fake - 1).square().mean() / 2


# -- training ------------------------------------------------------------------------------------------------------


def train(
    torch: Any,
    net: Any,
    draw: Callable[[], tuple[Any, Any]],
    terms: Mapping[Term, float],
    *,
    steps: int,
    lr: float,
    critic: Any | None = None,
    fool: float = 0.05,
    critic_lr: float = 1e-4,
) -> list[float]:
    """Adam on the weighted ``terms``; ``draw()`` gives clips and true frames. The loss of every step, without the adversary's.

    With a ``critic`` (on the first head) the predictor and it take turns; ``fool`` weighs fooling it. The learning rate falls to
    a tenth for the last fifth of the steps.

    Raises:
        InputError: the loss is no longer a number.
    """
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr)
    late = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, steps * 4 // 5)], 0.1)
    against = torch.optim.Adam(critic.parameters(), critic_lr) if critic is not None else None
    losses = []
    for _ in range(steps):
        clip, true = draw()
        predicted = net(clip)
        loss: Any = sum(weight * term(predicted, true, clip) for term, weight in terms.items())
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise InputError(
                "lr", f"the loss became {losses[-1]} after {len(losses)} steps", "take a smaller one"
            )
        whole = loss if critic is None else loss + fool * fooling_loss(critic(predicted[:, 0]))
        optimizer.zero_grad()
        whole.backward()
        optimizer.step()
        late.step()
        if against is not None:
            assert critic is not None
            wrong = critic_loss(critic(true[:, 0]), critic(predicted[:, 0].detach()))
            against.zero_grad()
            wrong.backward()
            against.step()
    return losses


def restored(torch: Any, net: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """``net`` with the weights and running statistics ``arrays`` (see :func:`oddwatch.detectors.image.heads.arrays_of`), ready
    to score. Raises ModelError: one is missing or of another shape, so they are of a network made with other arguments."""
    weights = {}
    for name, value in net.state_dict().items():
        if value.ndim and (name not in arrays or arrays[name].shape != tuple(value.shape)):
            raise ModelError(f"weights: {name} is missing or of another shape, the arguments do not fit them")
        weights[name] = torch.from_numpy(arrays[name].copy()) if value.ndim else value
    net.load_state_dict(weights)
    return net.eval()
