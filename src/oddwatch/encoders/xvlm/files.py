"""Reading published checkpoints without running what is in them, and writing them as safetensors with a card."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oddwatch.core import InputError, ModelError, require
from oddwatch.encoders import weights
from oddwatch.encoders.xvlm.keys import (
    Family,
    Plan,
    Shapes,
    Sizes,
    family_of,
    native_side,
    plan,
    sizes_of,
    unwrap,
)
from oddwatch.encoders.xvlm.positions import resize_table

if TYPE_CHECKING:
    import torch

    from oddwatch.encoders.xvlm.nets import Net

CARD = "oddwatch"
"""The entry of a converted file's header that holds its card."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Names and shapes in a file, ``tensor(name)`` for one of them, and the card of a converted file (or empty)."""

    path: Path
    shapes: Shapes
    tensor: Callable[[str], torch.Tensor]
    card: Mapping[str, Any]

    @property
    def sizes(self) -> Sizes:
        """From the card, else of the published model its names tell. Raises ModelError where neither does."""
        if "sizes" in self.card:
            try:
                return Sizes.from_json(self.card["sizes"])
            except (InputError, TypeError, ValueError, KeyError) as error:
                raise ModelError(f"{self.path}: its card is not of the expected form ({error})") from error
        return sizes_of(self.shapes)


def read(path: str | Path) -> Checkpoint:
    """A checkpoint: safetensors by that ending, else a file of ``torch.save``, read with the weights-only loader.

    Raises:
        MissingExtra: torch is not installed.
        ModelError: no such file, not such a file, or one that holds more than tensors and plain values.
    """
    torch = require("torch", for_="checkpoints of X-VLM, X2-VLM and CMP", extra="torch")
    at = Path(path)
    if not at.is_file():
        raise ModelError(f"{at}: no such file; give the path of a checkpoint (.pth, .th, .safetensors)")
    if at.suffix == ".safetensors":
        return _read_safetensors(at)
    try:
        # Only the zip form can be mapped into memory; files from before torch 1.6 are read whole.
        tree = torch.load(at, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(at) or None)
    except Exception as error:  # the loader's refusals share no public base class
        # torch's own words advise to load it unsafely; they stay in the cause.
        raise ModelError(
            f"{at}: the weights-only loader refused it ({type(error).__name__}); it is damaged, or holds objects beside tensors. "
            "Nothing in it was run. Ask its maker for safetensors or for the table of tensors alone"
        ) from error
    try:
        tensors = unwrap(tree)
    except ModelError as error:
        raise ModelError(f"{at}: {error}") from error
    return Checkpoint(at, {n: tuple(t.shape) for n, t in tensors.items()}, tensors.__getitem__, {})


def _read_safetensors(at: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(at, framework="pt", device="cpu")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        card = json.loads((file.metadata() or {}).get(CARD, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{at}: not a safetensors file ({error})") from error
    bare = unwrap({name: _Shaped(name, shape) for name, shape in shapes.items()})
    return Checkpoint(
        at,
        {name: shaped.shape for name, shaped in bare.items()},
        lambda name: file.get_tensor(bare[name].name),
        card if isinstance(card, dict) else {},
    )


@dataclass(frozen=True, slots=True)
class _Shaped:
    name: str
    shape: tuple[int, ...]


def wanted_shapes(sizes: Sizes) -> Shapes:
    """Names and shapes of a model of ``sizes``, without memory for it."""
    return {name: tuple(value.shape) for name, value in _hollow(sizes).state_dict().items()}


def _hollow(sizes: Sizes) -> Net:
    torch = require("torch", for_="X-VLM, X2-VLM and CMP", extra="torch")
    from oddwatch.encoders.xvlm.nets import Net

    with torch.device("meta"):
        return Net(sizes)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A filled model in evaluation mode, its sizes, how the checkpoint filled it, and twelve hex digits over the
    weights taken: equal ones mean equal weights, whatever the file."""

    net: Net
    sizes: Sizes
    plan: Plan
    fingerprint: str


def load(path: str | Path, sizes: Sizes | None = None, side: int | None = None) -> Loaded:
    """The model of a checkpoint, on the CPU in float32. ``sizes`` are for a model that is none of the published;
    ``side`` is the input side in pixels if it is not to be the checkpoint's own: position tables are then
    interpolated.

    Raises:
        MissingExtra: torch is not installed.
        ModelError: the file cannot be read or does not fit (:class:`.keys.KeyMismatch` lists the names).
        InputError: a side the model cannot have.
    """
    file, made = _sized(path, sizes, side)
    net = _hollow(made)
    try:
        found = plan(file.shapes, {n: tuple(v.shape) for n, v in net.state_dict().items()}, made)
    except ModelError as error:
        error.args = (f"{file.path}: {error}",)
        raise
    total = hashlib.sha256()
    state = {name: _filled(file, name, found, made, total) for name in sorted(found.take)}
    for name in found.fresh:
        state[name] = _starting_value(name)
    net.load_state_dict(state, strict=True, assign=True)
    return Loaded(net.eval(), made, found, total.hexdigest()[:12])


def _sized(path: str | Path, sizes: Sizes | None, side: int | None) -> tuple[Checkpoint, Sizes]:
    file = read(path)
    try:
        made = sizes or file.sizes
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}") from error
    if side is not None:
        if side < made.step or side % made.step:
            raise InputError("resolution", f"expected a multiple of {made.step}, got {side}")
        made = replace(made, side=side)
    return file, made


def _filled(file: Checkpoint, name: str, found: Plan, sizes: Sizes, total: Any) -> torch.Tensor:
    import torch

    value = file.tensor(found.take[name])
    value = value.float() if value.is_floating_point() else value
    value = value.clone(memory_format=torch.contiguous_format)
    total.update(name.encode() + str(tuple(value.shape)).encode())
    total.update(value.numpy().reshape(-1).data)
    if name in found.resize:
        return torch.from_numpy(resize_table(value.numpy(), sizes.side // sizes.step, sizes.extra_rows))
    return value


def _starting_value(name: str) -> torch.Tensor:
    import torch

    return {"temp": torch.tensor(0.07)}[name]


def start_cmp(path: str | Path, seed: int = 0, sizes: Sizes | None = None) -> Loaded:
    """CMP as its training starts: an X-VLM checkpoint with fresh projections, pose block and pose convolutions
    (``plan.fresh`` names them), in training mode. ``sizes`` are CMP's.

    Raises:
        MissingExtra: torch is not installed.
        ModelError: it is not an X-VLM checkpoint, or does not fit.
    """
    torch = require("torch", for_="CMP", extra="torch")
    from oddwatch.encoders.xvlm.keys import PUBLISHED
    from oddwatch.encoders.xvlm.nets import Net

    file = read(path)
    if family_of(file.shapes) != "xvlm":
        raise ModelError(
            f"{file.path}: CMP starts from an X-VLM checkpoint, this is {family_of(file.shapes)}"
        )
    made = sizes or PUBLISHED["cmp"]
    made = replace(made, side=native_side(file.shapes, made))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(made)
    own = net.state_dict()
    found = plan(file.shapes, {n: tuple(v.shape) for n, v in own.items()}, made, start=True)
    total = hashlib.sha256(f"seed {seed}".encode())
    state = {name: _filled(file, name, found, made, total) for name in sorted(found.take)}
    net.load_state_dict({**own, **state}, strict=True, assign=True)
    return Loaded(net.train(), made, found, total.hexdigest()[:12])


def convert(path: str | Path, out: str | Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """Write a checkpoint as ``out`` (.safetensors) with a card beside it (.json); returns the card. Kept are the
    tensors the model takes, under their own names and in their own precision; all must fit first.

    Raises:
        MissingExtra: torch is not installed.
        ModelError: the file cannot be read or does not fit.
        InputError: ``out`` has another ending, or is the source itself.
    """
    target = Path(out)
    if target.suffix != ".safetensors":
        raise InputError(str(target), "expected a name that ends in .safetensors")
    file, made = _sized(path, sizes, None)
    if target.exists() and target.samefile(file.path):
        raise InputError(str(target), "is the checkpoint itself", "give another name")
    try:
        found = plan(file.shapes, wanted_shapes(made), made)
    except ModelError as error:
        error.args = (f"{file.path}: {error}",)
        raise
    from safetensors.torch import save_file

    card: dict[str, Any] = {
        "family": made.family,
        "sizes": made.to_json(),
        "source": file.path.name,
        "source_sha256": weights.digest(file.path),
        "keys": len(found.take),
        "left_out": len(found.unused),
    }
    tensors = {name: file.tensor(theirs).clone().contiguous() for name, theirs in found.take.items()}
    part = target.with_name(target.name + ".part")
    save_file(tensors, part, metadata={CARD: json.dumps(card)})
    part.replace(target)
    target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def family_in(path: str | Path) -> Family:
    """Which family a checkpoint belongs to, by its names. Raises as :func:`read` and when it is none of them."""
    file = read(path)
    try:
        return family_of(file.shapes)
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}") from error
