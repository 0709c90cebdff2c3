"""Frozen models that turn media and sentences into poses, tokens and vectors; loaded by name."""

from __future__ import annotations

from typing import Any

from oddwatch.core import Card, resolve

ENCODERS: dict[str, str] = {
    "pose": "oddwatch.encoders.pose:PoseModel",
    "patches": "oddwatch.encoders.vit:PatchEncoder",
    "sentences": "oddwatch.encoders.sentence:SentenceEncoder",
    "dual": "oddwatch.encoders.hub:HubDualEncoder",
    "hub-patches": "oddwatch.encoders.hub:HubPatchEncoder",
    "xvlm": "oddwatch.encoders.xvlm.model:XvlmEncoder",
    "x2vlm": "oddwatch.encoders.xvlm.model:X2vlmEncoder",
    "cmp": "oddwatch.encoders.xvlm.model:CmpEncoder",
}
"""Name → ``"module:class"``; nothing is imported until it is loaded."""

CARDS: dict[str, Card] = {
    "pose": Card(
        "pose", "encoder", "image",
        "People with 17 keypoints, at most six a pass (MoveNet MultiPose Lightning); packaged",
        verified=("R",),
    ),
    "patches": Card(
        "patches", "encoder", "image",
        "CLS and patch tokens of a ViT-S/14 in DINOv2's layout, fine-tuned for saliency by a third party on "
        "unnamed data; every block; packaged in int8",
        verified=("R",),
    ),
    "sentences": Card(
        "sentences", "encoder", "text",
        "Sentence vectors of all-MiniLM-L6-v2; packaged in int8",
        paper="Reimers and Gurevych, Sentence-BERT, 2019",
        verified=("R",),
    ),
    "dual": Card(
        "dual", "encoder", "text-image",
        "Pictures and sentences in one space: CLIP, SigLIP or SigLIP 2 by folder or Hub name",
        paper="Radford et al. 2021; Zhai et al. 2023; Tschannen et al. 2025",
        needs=("extra torch", "weights by path or Hub"),
    ),
    "hub-patches": Card(
        "hub-patches", "encoder", "image",
        "CLS and patch tokens of a DINOv2-class model by folder or Hub name",
        paper="Oquab et al. 2023",
        needs=("extra torch", "weights by path or Hub"),
    ),
    "xvlm": Card(
        "xvlm", "encoder", "text-image",
        "X-VLM's published checkpoints: one space for pictures and sentences, and a cross encoder over the same "
        "tokens; Swin-B at 224, 384 or 480 and BERT 6 + 6",
        paper="arXiv 2111.08276, ICML 2022",
        needs=("extra torch", "weights by path"),
        claims={"R@1, PAB, zero-shot": "71.94 (table), 72.70 (one process)", "R@1, PAB 0.1M": "81.95"},
        verified=("R", "w"),
    ),
    "x2vlm": Card(
        "x2vlm", "encoder", "text-image",
        "X2-VLM's published checkpoints, base and large, still pictures: BEiT v2 and BERT 12 + 6, dual and cross "
        "encoder",
        paper="arXiv 2211.12402",
        needs=("extra torch", "weights by path"),
        verified=("R", "w"),
    ),
    "cmp": Card(
        "cmp", "encoder", "text-image",
        "CMP's published checkpoint: X-VLM with pooled 2048-dimensional features and a pose branch; pose maps are "
        "drawn from our keypoints, their likeness to OpenPose's is unverified",
        paper="arXiv 2411.17776, ICCV 2025",
        needs=("extra torch", "weights by path", "poses"),
        claims={"R@1, PAB 1M": "84.93", "mAP": "91.66"},
        verified=("R", "w"),
    ),
}  # fmt: skip


def load(name: str, **options: Any) -> Any:
    """The encoder ``name`` of :data:`ENCODERS`, built with ``options`` (its constructor's arguments).

    Raises:
        InputError: no such name.
        MissingExtra: it needs a package that is not installed.
        ModelError: its weights are missing or changed.
    """
    return resolve(ENCODERS, name, "encoder")(**options)


__all__ = ["CARDS", "ENCODERS", "load"]
