"""Losses of the person-search systems: ALBEF / X-VLM / CMP (ITC, ITM, MLM, hard pairs), IRRA (SDM), ActPair (actions).

Sources: X-VLM (arXiv 2111.08276), CMP (arXiv 2411.17776), IRRA (arXiv 2303.12501), ActPair (arXiv 2608.23503), SigLIP
(arXiv 2303.15343). Needs torch. B is the number of pairs in the batch; row i of a (B, B) matrix is image i, column j
text j; ``ids`` (B,) are integers, equal where two pairs show the same thing. One process: nothing is gathered
across devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from oddwatch.core import InputError, require
from oddwatch.train.masking import IGNORED

torch: Any = require("torch", for_="training a person search", extra="torch")
functional: Any = torch.nn.functional
Tensor: TypeAlias = Any

AUGMENTED_WEIGHT = 0.8
"""What the same image with an augmented caption counts in ITC and ITM beside the caption as written (CMP)."""
FLOOR = 1e-5
"""Added to each in-batch negative's probability, so that every one can be drawn."""


def soft_labels(ids: Tensor, smoothing: float = 0.2) -> Tensor:
    """Targets (B, B): equal ids share a row's mass evenly, then ``smoothing`` (0–1) of it is spread over the row.

    Raises:
        InputError: ``ids`` is not one-dimensional or empty, or ``smoothing`` is outside 0–1.
    """
    if ids.dim() != 1 or not len(ids):
        raise InputError("ids", f"expected one integer per pair, got the shape {tuple(ids.shape)}")
    if not 0 <= smoothing <= 1:
        raise InputError("smoothing", f"expected a number from 0 to 1, got {smoothing}")
    same = (ids[:, None] == ids[None, :]).float()
    return (1 - smoothing) * same / same.sum(1, keepdim=True) + smoothing / len(ids)


def similarity(image: Tensor, text: Tensor, temperature: Tensor | float) -> Tensor:
    """Logits (B, B): dot products of unit vectors ``image`` and ``text`` (B, D) divided by ``temperature`` (> 0).

    Raises:
        InputError: the two are not matrices of one shape.
    """
    if image.dim() != 2 or image.shape != text.shape:
        raise InputError(
            "vectors", f"expected two (B, D) matrices, got {tuple(image.shape)} and {tuple(text.shape)}"
        )
    return image @ text.T / temperature


def itc_loss(
    image: Tensor, text: Tensor, ids: Tensor, temperature: Tensor | float = 0.07, smoothing: float = 0.2
) -> Tensor:
    """Image-text contrastive loss of unit vectors (B, D), both directions; ``temperature`` may be learnt."""
    return itc_loss_of(similarity(image, text, temperature), ids, smoothing)


def itc_loss_of(logits: Tensor, ids: Tensor, smoothing: float = 0.2) -> Tensor:
    """:func:`itc_loss` of logits (B, B) that are already divided by the temperature."""
    _square(logits, ids)
    labels = soft_labels(ids, smoothing)  # symmetric in who has a given id, so both directions share it
    to_text = -(labels * logits.log_softmax(1)).sum(1).mean()
    to_image = -(labels * logits.T.log_softmax(1)).sum(1).mean()
    return (to_text + to_image) / 2


def siglip_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """SigLIP's pairwise loss: each of the B × B pairs is one yes or no; summed over a row, mean over rows.

    ``logits`` (B, B) are scaled and shifted by the model's own scale and bias.
    """
    _square(logits, ids)
    sign = (ids[:, None] == ids[None, :]).to(logits.dtype) * 2 - 1
    return -functional.logsigmoid(sign * logits).sum(1).mean()


def itm_weights(logits: Tensor, ids: Tensor, masked: Tensor | None = None) -> Tensor:
    """How likely each in-batch column is drawn as a row's hard negative: (B, B), 0 for equal ids, no gradient.

    ``logits`` (B, B) are those of ITC, transposed to draw images for texts. ``masked`` (B, B) bool rules out more
    pairs, such as equal captions under different ids. Rows are not normalised; one may be all 0.
    """
    _square(logits, ids)
    barred = ids[:, None] == ids[None, :]
    if masked is not None:
        barred = barred | masked
    return (logits.detach().softmax(1) + FLOOR).masked_fill(barred, 0)


def draw_negatives(weights: Tensor, generator: Any = None) -> Tensor:
    """One column per row of ``weights`` (B, B), drawn in proportion: (B,) int64, −1 where a row is all 0."""
    possible = weights.sum(1) > 0
    drawn = torch.full((len(weights),), -1, dtype=torch.int64, device=weights.device)
    if possible.any():
        drawn[possible] = torch.multinomial(weights[possible], 1, generator=generator)[:, 0]
    return drawn


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """What the cross-encoder is asked: ``image`` and ``text`` (N,) places in the batch, ``labels`` (N,) 1 = match.
    The B matches come first, then texts with a negative image, then images with a negative text."""

    image: Tensor
    text: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def itm_pairs(logits: Tensor, ids: Tensor, generator: Any = None, masked: Tensor | None = None) -> Pairs:
    """The 3B pairs of image-text matching: B matches, a hard negative image per text, a hard negative text per image.

    Whoever has no possible negative (all ids equal) gets none, so there can be fewer than 3B.
    """
    images = draw_negatives(itm_weights(logits.T, ids, None if masked is None else masked.T), generator)
    texts = draw_negatives(itm_weights(logits, ids, masked), generator)
    own = torch.arange(len(ids), device=ids.device)
    image = torch.cat([own, images[images >= 0], own[texts >= 0]])
    text = torch.cat([own, own[images >= 0], texts[texts >= 0]])
    labels = torch.zeros(len(image), dtype=torch.int64, device=ids.device)
    labels[: len(own)] = 1
    return Pairs(image, text, labels)


def itm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Two-class cross-entropy of matching logits (N, 2), class 1 = match, mean over N."""
    if logits.dim() != 2 or logits.shape[1] != 2:
        raise InputError("matching logits", f"expected the shape (N, 2), got {tuple(logits.shape)}")
    return functional.cross_entropy(logits, labels)


def hard_pair_loss(logits: Tensor) -> Tensor:
    """CMP's loss of identity-based hard pairs: matching logits (2B, 2) of (I, T~) and (I~, T), all labelled 0.

    They enter the matching loss only, only as negatives (CMP §3.3).
    """
    return itm_loss(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def mlm_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over masked places: ``logits`` (..., V), ``targets`` (...) token ids, −100 where not masked.

    0 (with a gradient of 0) where nothing is masked.
    """
    return _cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def sdm_loss(image: Tensor, text: Tensor, ids: Tensor, temperature: Tensor | float = 0.02) -> Tensor:
    """IRRA's similarity distribution matching of unit vectors (B, D), the sum of both directions."""
    return sdm_loss_of(similarity(image, text, temperature), ids)


def sdm_loss_of(logits: Tensor, ids: Tensor) -> Tensor:
    """:func:`sdm_loss` of logits (B, B): KL of the softmax of each row (and column) from its share of equal ids."""
    _square(logits, ids)
    truth = (soft_labels(ids, 0.0) + 1e-8).log()

    def one_way(rows: Tensor) -> Tensor:
        log_p = rows.log_softmax(1)
        return (log_p.exp() * (log_p - truth)).sum(1).mean()

    return one_way(logits) + one_way(logits.T)


def symmetric_kl(a: Tensor, b: Tensor) -> Tensor:
    """Half of KL(a‖b) + KL(b‖a) of two predictions given as logits (N, C), mean over N."""
    log_a, log_b = a.log_softmax(1), b.log_softmax(1)
    return ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(1).mean() / 2


def action_loss(image_logits: Tensor, text_logits: Tensor, labels: Tensor) -> Tensor:
    """ActPair's action loss: mean cross-entropy of one action classifier on both embeddings plus their symmetric KL.

    Logits (B, C); ``labels`` (B,) class, −100 where the action is not known (the KL still counts). ActPair adds 0.2
    of it to SigLIP's loss. Whether the paper's KL is the sum or the mean of the two directions is not told;
    here it is the mean.
    """
    told = (_cross_entropy(image_logits, labels) + _cross_entropy(text_logits, labels)) / 2
    return told + symmetric_kl(image_logits, text_logits)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    told = targets != IGNORED
    if not told.any():
        return logits.sum() * 0  # the mean over nothing is not a number
    return functional.cross_entropy(logits[told], targets[told])


def _square(logits: Tensor, ids: Tensor) -> None:
    if logits.shape != (len(ids), len(ids)):
        raise InputError(
            "logits",
            f"expected the shape ({len(ids)}, {len(ids)}) of {len(ids)} ids, got {tuple(logits.shape)}",
        )
