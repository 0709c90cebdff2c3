"""X-VLM, X2-VLM and CMP as encoders: pictures and sentences in one space, and a cross encoder over the same tokens.

The two stages of such a search (ALBEF's, X-VLM's): unit vectors of pictures and sentence give the first
ranking; for the best of them the sentence's tokens look at the picture's tokens, and the logit of "match" ranks
again. Picture tokens are computed once (``tokens_of``), both stages read them (``vectors_of``, ``match``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from oddwatch.core import Frame, InputError, ModelError, Pose, require
from oddwatch.encoders.vit import pixels_of
from oddwatch.encoders.xvlm import files
from oddwatch.encoders.xvlm.keys import Sizes
from oddwatch.encoders.xvlm.skeleton import pose_map
from oddwatch.encoders.xvlm.text import LENGTH, token_ids

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""CLIP's, which all three were trained with."""

Pictures = Sequence[Frame | np.ndarray]
PoseLike = Pose | Sequence[Pose] | np.ndarray | None


def squared(frame: Frame | np.ndarray, side: int) -> np.ndarray:
    """The whole picture squashed to ``side`` × ``side`` (bicubic, without aliasing), uint8 RGB. Never 384 × 128:
    that is for upright people, and a lying one would lose two thirds of the width."""
    from PIL import Image

    picture = Image.fromarray(pixels_of(frame)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.uint8)


class XvlmEncoder:
    """X-VLM (Zeng et al., Multi-Grained Vision Language Pre-Training, ICML 2022): Swin-B and a BERT of 6 + 6 layers,
    256 dimensions.

    ``path`` is a checkpoint as published (.pth) or converted (.safetensors), of 224, 384 or 480 pixels;
    ``resolution`` another input side (a multiple of 32; position tables are interpolated). ``length`` is the number
    of words kept and of tokens a text is padded to: 56 on PAB, 40 in X-VLM's own retrieval. ``sizes`` are for
    a model of other than the published sizes.
    """

    family: ClassVar[str] = "xvlm"
    blank_signs: ClassVar[bool] = False

    def __init__(
        self,
        path: str | Path,
        resolution: int | None = None,
        device: str = "auto",
        batch: int = 8,
        length: int = LENGTH,
        sizes: Sizes | None = None,
    ) -> None:
        if batch < 1:
            raise InputError("batch", f"expected 1 or more, got {batch}")
        self._torch = require("torch", for_=f"the model {path}", extra="torch")
        from oddwatch.encoders.hub import torch_device

        self.device = torch_device(device)
        loaded = files.load(path, sizes, resolution)
        if loaded.sizes.family != self.family:
            raise ModelError(f"{path}: expected a checkpoint of {self.family}, this is {loaded.sizes.family}")
        if not 8 <= length <= loaded.sizes.places:
            raise InputError("length", f"expected 8 to {loaded.sizes.places} tokens, got {length}")
        self.net = loaded.net.requires_grad_(False).to(self.device)
        self.sizes, self.batch, self.length = loaded.sizes, batch, length
        self.resolution, self.dim = loaded.sizes.side, loaded.sizes.dim
        self.id = f"{self.family}-{loaded.fingerprint}/{self.resolution}/{length}"

    def tokens_of(self, frames: Pictures) -> np.ndarray:
        """Tokens (N, 1 + L, D) float32 of Frames or (H, W, 3) uint8 RGB arrays; the mean of the patches first.

        Raises:
            InputError: a frame is not such an array.
        """
        return self._tokens(frames, lambda part: self.net.image_tokens(self._pixels(part)))

    def vectors_of(self, tokens: np.ndarray) -> np.ndarray:
        """Unit vectors (N, dim) float32 of picture tokens."""
        return self._batches(self._checked(tokens), lambda t: self.net.image_vectors(t), (self.dim,))

    def encode_images(self, frames: Pictures) -> np.ndarray:
        """Unit vectors (N, dim) float32.

        Raises:
            InputError: a frame is not (H, W, 3) uint8 RGB.
        """
        return self.vectors_of(self.tokens_of(frames))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (N, dim) float32 of cleaned captions, cut to ``length`` words and tokens.

        Raises:
            InputError: ``texts`` is one string, or one of them has no word.
        """
        ids, mask = token_ids(texts, self.length, self.blank_signs)
        both = np.stack([ids, mask], 1)
        return self._batches(
            both,
            lambda part: self.net.text_vectors(self.net.text_tokens(part[:, 0], part[:, 1])),
            (self.dim,),
        )

    def match(self, text: str, tokens: np.ndarray) -> np.ndarray:
        """Logits (N,) float32 of "this picture fits ``text``" for picture tokens of :meth:`tokens_of`; higher fits
        better. They have no common zero: compare within one text, or calibrate.

        Raises:
            InputError: ``text`` has no word, or ``tokens`` have not this model's shape.
        """
        from oddwatch.encoders.xvlm.nets import MATCH

        ids, mask = token_ids([text], self.length, self.blank_signs)
        # Padding takes no part in attention; only [CLS] is read.
        kept = int(mask.sum())
        with self._torch.inference_mode():
            mine = self.net.text_tokens(*(self._tensor(a[:, :kept]) for a in (ids, mask)))
            ones = self._torch.ones(1, kept, dtype=self._torch.bool, device=self.device)
        return self._batches(
            self._checked(tokens),
            lambda t: self.net.match(mine.expand(len(t), -1, -1), ones.expand(len(t), -1), t)[:, MATCH],
            (),
        )

    def score(self, text: str, frames: Pictures) -> np.ndarray:
        """Logits (N,) of :meth:`match` for pictures; keep :meth:`tokens_of` where there is more than one text.

        Raises:
            InputError: ``text`` has no word, or a frame is not (H, W, 3) uint8 RGB.
        """
        return self.match(text, self.tokens_of(frames))

    @property
    def _token_shape(self) -> tuple[int, int]:
        across = self.resolution // self.sizes.step
        return 1 + across * across, self.sizes.token_width

    def _checked(self, tokens: np.ndarray) -> np.ndarray:
        if tokens.ndim != 3 or tokens.shape[1:] != self._token_shape:
            raise InputError(
                "tokens", f"expected (N, {self._token_shape}), got {tokens.shape}", "use tokens_of"
            )
        return tokens.astype(np.float32, copy=False)

    def _tensor(self, array: np.ndarray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _pixels(self, frames: Pictures) -> Any:
        pictures = np.stack([squared(frame, self.resolution) for frame in frames]).astype(np.float32)
        return self._tensor(((pictures / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2))

    def _tokens(self, items: Sequence[Any], run: Callable[[Sequence[Any]], Any]) -> np.ndarray:
        out = np.empty((len(items), *self._token_shape), np.float32)
        with self._torch.inference_mode():
            for start in range(0, len(items), self.batch):
                part = run(items[start : start + self.batch]).float().cpu().numpy()
                out[start : start + len(part)] = part
        return out

    def _batches(self, arrays: np.ndarray, run: Callable[[Any], Any], shape: tuple[int, ...]) -> np.ndarray:
        out = np.empty((len(arrays), *shape), np.float32)
        with self._torch.inference_mode():
            for start in range(0, len(arrays), self.batch):
                part = run(self._tensor(arrays[start : start + self.batch])).float().cpu().numpy()
                out[start : start + len(part)] = part
        return out


class X2vlmEncoder(XvlmEncoder):
    """X2-VLM (Zeng et al., 2022, arXiv 2211.12402): BEiT v2 and a BERT of 12 + 6 layers, 256 dimensions; base and
    large by their widths. Arguments as :class:`XvlmEncoder`; ``resolution`` is a multiple of 16. Still pictures only:
    the clip embeddings of its second stage are not used."""

    family = "x2vlm"
    blank_signs = True


class CmpEncoder(XvlmEncoder):
    """CMP (Yang et al., Beyond Walking, ICCV 2025): X-VLM with 2048-dimensional pooled features and a branch that
    reads a pose map beside the picture.

    Arguments as :class:`XvlmEncoder`. Pictures take ``poses``, one item each: our keypoints (:class:`Pose`, or
    several) in pixels of that picture, a drawn map (H, W, 3) uint8, or None for nobody seen (a black map, as is used
    for all when ``poses`` is left out). Maps are drawn by :func:`.skeleton.pose_map`, whose likeness to OpenPose's
    is unverified.
    """

    family = "cmp"
    _black: Any = None

    def tokens_of(self, frames: Pictures, poses: Sequence[PoseLike] | None = None) -> np.ndarray:
        """Tokens (N, 1 + L, D) float32 after the pose-aware block (if the checkpoint has one).

        Raises:
            InputError: a frame or map is not (H, W, 3) uint8 RGB, or there is not one pose item per frame.
        """
        if poses is not None and len(poses) != len(frames):
            raise InputError("poses", f"expected one item per frame ({len(frames)}), got {len(poses)}")
        if not self.sizes.pose_block:
            return super().tokens_of(frames)
        pairs = list(zip(frames, [None] * len(frames) if poses is None else poses, strict=True))
        return self._tokens(pairs, self._with_poses)

    def encode_images(self, frames: Pictures, poses: Sequence[PoseLike] | None = None) -> np.ndarray:
        """Unit vectors (N, dim) float32. Raises as :meth:`tokens_of`."""
        return self.vectors_of(self.tokens_of(frames, poses))

    def score(self, text: str, frames: Pictures, poses: Sequence[PoseLike] | None = None) -> np.ndarray:
        """Logits (N,) of :meth:`match` for pictures. Raises as :meth:`match` and :meth:`tokens_of`."""
        return self.match(text, self.tokens_of(frames, poses))

    def _with_poses(self, pairs: Sequence[tuple[Frame | np.ndarray, PoseLike]]) -> Any:
        maps = [drawn(frame, pose) for frame, pose in pairs]
        if any(m is not None for m in maps):
            black = np.zeros((1, 1, 3), np.uint8)
            poses = self.net.pose_tokens(self._pixels([black if m is None else m for m in maps]))
        else:
            poses = self._nobody().expand(len(pairs), -1, -1)
        return self.net.image_tokens(self._pixels([frame for frame, _ in pairs]), poses)

    def _nobody(self) -> Any:
        """Tokens of a black map, computed once."""
        if self._black is None:
            self._black = self.net.pose_tokens(self._pixels([np.zeros((1, 1, 3), np.uint8)]))
        return self._black


def drawn(frame: Frame | np.ndarray, pose: PoseLike) -> np.ndarray | None:
    """The pose map of ``frame``: drawn from keypoints, or as given; None where nobody is to be seen."""
    if pose is None or isinstance(pose, np.ndarray):
        return None if pose is None else pixels_of(pose)
    height, width = pixels_of(frame).shape[:2]
    return pose_map(pose, width, height)


BY_FAMILY: dict[str, type[XvlmEncoder]] = {e.family: e for e in (XvlmEncoder, X2vlmEncoder, CmpEncoder)}


def open_model(path: str | Path, **options: Any) -> XvlmEncoder:
    """The encoder for a checkpoint, whichever of the three it is; ``options`` as of :class:`XvlmEncoder`.

    Raises:
        MissingExtra: torch is not installed.
        ModelError: the file cannot be read, is none of the three, or does not fit.
        InputError: an option that cannot be.
    """
    return BY_FAMILY[files.family_in(path)](path, **options)
