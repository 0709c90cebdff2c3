"""A checkpoint's names and shapes held against the model's: nothing missing, nothing left over, nothing bent.

Known are the names of the public code of X-VLM (Zeng et al., ICML 2022), X2-VLM (Zeng et al., 2022) and CMP (Yang et
al., ICCV 2025), in their pre-training form (``text_encoder.bert.…`` with heads for words and boxes) and in their
retrieval form (``text_encoder.…``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from oddwatch.core import InputError, Jsonable, ModelError
from oddwatch.encoders.xvlm.positions import window_side

Shapes = Mapping[str, tuple[int, ...]]
Family = Literal["xvlm", "x2vlm", "cmp"]


@dataclass(frozen=True, slots=True)
class Sizes(Jsonable):
    """What a model is made of. ``width`` is that of the first picture stage (it doubles from stage to stage),
    ``side`` the pixels of the square input, ``text_layers`` read the text alone, ``cross_layers`` also look at the
    picture, ``dim`` is that of the shared space. The defaults are X-VLM's."""

    family: Family = "xvlm"
    width: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    patch: int = 4
    side: int = 224
    vocabulary: int = 30522
    places: int = 512
    text_width: int = 768
    text_heads: int = 12
    inner: int = 3072
    text_layers: int = 6
    cross_layers: int = 6
    dim: int = 256
    pose_block: bool = False
    pose_conv: bool = False

    def __post_init__(self) -> None:
        numbers = [v for v in (getattr(self, f.name) for f in fields(self)) if isinstance(v, int)]
        possible = (
            all(n >= 0 for n in numbers)
            and len(self.depths) == len(self.heads) > 0
            and min(*self.depths, *self.heads) > 0
            and self.text_heads > 0
            and self.text_width % self.text_heads == 0
            and all((self.width << i) % n == 0 for i, n in enumerate(self.heads))
            and self.patch > 0
            and self.side > 0
            and self.side % self.step == 0
        )
        if not possible:
            raise InputError("sizes", f"expected those of a model that can be built, got {self}")

    @property
    def token_width(self) -> int:
        """Width of a picture token."""
        return self.width << (len(self.depths) - 1)

    @property
    def step(self) -> int:
        """Pixels that one more patch of the window adds to the side; ``side`` is a multiple of it."""
        return self.patch << (len(self.depths) - 1)

    @property
    def extra_rows(self) -> int:
        """Rows of a relative position table that belong to the class token."""
        return 3 if self.family == "x2vlm" else 0


_X2VLM = Sizes("x2vlm", width=768, depths=(12,), heads=(12,), patch=16, text_layers=12)
PUBLISHED: dict[str, Sizes] = {
    "xvlm": Sizes(),
    "cmp": Sizes("cmp", dim=2048, pose_block=True, pose_conv=True),
    "x2vlm": _X2VLM,
    "x2vlm-large": replace(
        _X2VLM, width=1024, depths=(24,), heads=(16,), text_width=1024, text_heads=16, inner=4096
    ),
}
"""The published models. A checkpoint must fit one of them unless sizes are given."""

WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
UNUSED: tuple[tuple[str, str], ...] = (
    (r"bbox_head\.[0-3]\.(weight|bias)", "head for boxes, of pre-training"),
    (r"(text_encoder\.cls|mlm_head)\.predictions\..+", "head for masked words, of training"),
    (r"text_encoder\.embeddings\.position_ids", "a count from 0"),
    (r"vision_encoder\..+\.(relative_position_index|attn_mask)", "follows from the window"),
    (r"absolute_frame_pos_embed", "for clips of several frames"),
    (r"(vision_encoder|text_encoder|vision_proj|text_proj)_m\..+", "momentum copy, of training"),
)
"""What a checkpoint may hold and the model does not need, and why."""
OPTIONAL = ("temp",)
"""Kept at its starting value where absent: scoring does not use the temperature, and it can be trained fixed."""
NEW_IN_CMP = ("vision_proj.", "text_proj.", "pose_block.", "pose_conv.")
"""What CMP adds to an X-VLM checkpoint; fresh when its training starts (CMP's public code)."""
_OWN_OF_XVLM = r"(vision|text)_proj\.(weight|bias)"
_TABLE = ".relative_position_bias_table"
_SHOWN = 12


class KeyMismatch(ModelError):
    """A checkpoint that does not fit. ``missing`` and ``unexpected`` are names; ``wrong`` maps a name to the shapes
    (found, expected)."""

    def __init__(
        self,
        what: str,
        missing: Collection[str],
        unexpected: Collection[str],
        wrong: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        self.missing, self.unexpected, self.wrong = tuple(missing), tuple(unexpected), dict(wrong)
        bent = [f"{name} {found} instead of {wanted}" for name, (found, wanted) in wrong.items()]
        parts = [
            f"{len(names)} {title}: {', '.join(list(names)[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
            for title, names in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", bent))
            if names
        ]
        super().__init__(f"{what}: the checkpoint does not fit; {'; '.join(parts)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a checkpoint fills a model: ``take`` the model's name → the checkpoint's, ``resize`` the tables whose
    window differs, ``unused`` the checkpoint's other names → why, ``fresh`` what keeps its starting value."""

    take: Mapping[str, str]
    resize: frozenset[str] = frozenset()
    unused: Mapping[str, str] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()


def unwrap(tree: Any) -> dict[str, Any]:
    """The tensors by name in what a file holds: out of ``model`` or ``state_dict``, without a ``module.`` in front.

    Raises:
        ModelError: there is no table of tensors.
    """
    for _ in range(3):
        inner = next(
            (tree[k] for k in WRAPPERS if isinstance(tree, dict) and isinstance(tree.get(k), dict)), None
        )
        if inner is None:
            break
        tree = inner
    if not isinstance(tree, dict) or not tree or not all(hasattr(v, "shape") for v in tree.values()):
        raise ModelError(f"no table of tensors by name, nor one under {', '.join(WRAPPERS)}")
    if all(str(name).startswith("module.") for name in tree):
        return {str(name).removeprefix("module."): value for name, value in tree.items()}
    return {str(name): value for name, value in tree.items()}


def canonical(name: str) -> str:
    """The retrieval form of a name: without the ``bert.`` of the pre-training form."""
    return re.sub(r"^text_encoder\.bert\.", "text_encoder.", name)


def family_of(shapes: Shapes) -> Family:
    """Which of the three wrote a checkpoint.

    Raises:
        ModelError: none of them, or a variant that is not read here.
    """
    names = {canonical(name) for name in shapes}
    for start, what in (
        ("text_encoder.roberta.", "a RoBERTa text encoder"),
        ("cross_encoder.", "a separate cross encoder (CCLM, XVLMPlus)"),
        ("vision_encoder.encoder.", "a CLIP picture encoder"),
    ):
        if any(name.startswith(start) for name in names):
            raise ModelError(
                f"{what}; read are X-VLM and CMP with Swin-B, X2-VLM with BEiT v2, all with BERT"
            )
    if "vision_encoder.cls_token" in names and any(n.startswith("vision_encoder.blocks.") for n in names):
        return "x2vlm"
    if any(n.startswith("vision_encoder.layers.") for n in names):
        return "cmp" if any(re.match(r"(vision|text)_proj\.[02]\.", n) for n in names) else "xvlm"
    raise ModelError("neither X-VLM, X2-VLM nor CMP by its names; give one of their checkpoints")


def sizes_of(shapes: Shapes) -> Sizes:
    """The published model a checkpoint claims to be, at the input side its position tables are made for.

    Raises:
        ModelError: as :func:`family_of`.
    """
    family = family_of(shapes)
    sizes = PUBLISHED[family]
    if family == "x2vlm" and shapes["vision_encoder.cls_token"][-1] == PUBLISHED["x2vlm-large"].width:
        sizes = PUBLISHED["x2vlm-large"]
    if family == "cmp":
        # Its ablations without the pose branch or without the convolutions are settings of the public code.
        block, conv = (any(n.startswith(f"pose_{part}.") for n in shapes) for part in ("block", "conv"))
        sizes = replace(sizes, pose_block=block, pose_conv=block and conv)
    return replace(sizes, side=native_side(shapes, sizes))


def native_side(shapes: Shapes, sizes: Sizes) -> int:
    """The input side of a checkpoint, from its first position table; ``sizes.side`` where that tells nothing."""
    first = next((shape for name, shape in shapes.items() if name.endswith(_TABLE)), (0,))
    window = window_side(first[0], sizes.extra_rows)
    return sizes.step * window if window else sizes.side


def plan(found: Shapes, wanted: Shapes, sizes: Sizes, start: bool = False) -> Plan:
    """How ``found`` (a checkpoint's names) fills ``wanted`` (the model's). With ``start`` an X-VLM checkpoint may
    start CMP: :data:`NEW_IN_CMP` stays fresh.

    Raises:
        KeyMismatch: a name is missing, left over or of another shape.
    """
    take: dict[str, str] = {}
    unused: dict[str, str] = {}
    unexpected: list[str] = []
    for theirs in found:
        ours = canonical(theirs)
        why = next((why for pattern, why in UNUSED if re.fullmatch(pattern, ours)), None)
        if start and re.fullmatch(_OWN_OF_XVLM, ours):
            why = "projections of X-VLM, which CMP replaces"
        if ours in wanted and ours not in take:
            take[ours] = theirs
        elif why:
            unused[theirs] = why
        else:
            unexpected.append(theirs)
    fresh = tuple(
        n for n in wanted if n not in take and (n in OPTIONAL or (start and n.startswith(NEW_IN_CMP)))
    )
    missing = [n for n in wanted if n not in take and n not in fresh]
    side = native_side({n: found[t] for n, t in take.items()}, sizes)
    rows = (2 * (side // sizes.step) - 1) ** 2 + sizes.extra_rows
    wrong, resize = {}, set()
    for ours, theirs in take.items():
        shape = (rows, *wanted[ours][1:]) if ours.endswith(_TABLE) else wanted[ours]
        if tuple(found[theirs]) != shape:
            wrong[theirs] = (tuple(found[theirs]), shape)
        elif shape != wanted[ours]:
            resize.add(ours)
    if missing or unexpected or wrong:
        raise KeyMismatch(sizes.family, missing, unexpected, wrong)
    return Plan(take, frozenset(resize), unused, fresh)
