"""The published networks with what training adds: the head for hidden words, and the losses of X-VLM and CMP.

Sources: X-VLM (arXiv 2111.08276), CMP (arXiv 2411.17776 §3.3) and their public code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from oddwatch.core import require
from oddwatch.encoders.xvlm import files
from oddwatch.encoders.xvlm.keys import canonical
from oddwatch.encoders.xvlm.text import clean_caption, token_ids
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.search.fuse import top_k, two_stage
from oddwatch.train import losses
from oddwatch.train.fulldata import Reader

torch: Any = require("torch", for_="training a published architecture", extra="torch")
nn: Any = torch.nn
functional: Any = torch.nn.functional
Tensor: TypeAlias = Any

HEAD = ("text_encoder.cls.predictions.", "mlm_head.predictions.")
"""Where checkpoints keep the head for hidden words (X-VLM and CMP, X2-VLM)."""
TEMPERATURE = (0.001, 0.5)
"""The learnt temperature stays within these, as in the public code."""


class Transform(nn.Module):
    """BERT's layer before the words."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(width, width), nn.LayerNorm(width, 1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(functional.gelu(self.dense(x)))


class WordHead(nn.Module):
    """BERT's head for hidden words; its last matrix is the word embeddings'."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.transform, self.bias = Transform(width), nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        return functional.linear(self.transform(x), words, self.bias)


class FullModel(nn.Module):
    """A published network and, with ``hide``, the head for hidden words, filled from the checkpoint ``init`` if it has
    one (``head`` says where it came from)."""

    def __init__(self, net: Any, init: Path, hide: bool) -> None:
        super().__init__()
        self.net, self.head = net, "none"
        self.cls: Any = None
        if hide:
            head = WordHead(net.sizes.text_width, net.sizes.vocabulary)
            nn.init.normal_(head.transform.dense.weight, std=0.02)
            nn.init.zeros_(head.transform.dense.bias)
            self.head = "checkpoint" if _fill(head, init) else "fresh"
            self.cls = nn.ModuleDict({"predictions": head})

    def published(self) -> dict[str, Tensor]:
        """The weights under the authors' names: those of pre-training where there is a head, else of retrieval."""
        out = {}
        for name, value in self.net.state_dict().items():
            inner = name.removeprefix("text_encoder.")
            bert = self.cls is not None and inner != name
            out[f"text_encoder.bert.{inner}" if bert else name] = value
        for name, value in (self.cls.state_dict() if self.cls is not None else {}).items():
            out[f"text_encoder.cls.{name}"] = value
        return {name: value.detach().cpu().clone().contiguous() for name, value in out.items()}

    def seen(self, pixels: Tensor, poses: Tensor | None) -> Tensor:
        """Picture tokens (B, 1 + L, D); ``poses`` are maps, read where the network has a pose block."""
        with_pose = poses is not None and self.net.sizes.pose_block
        return self.net.image_tokens(pixels, self.net.pose_tokens(poses) if with_pose else None)

    def losses(self, batch: Mapping[str, Tensor], eda: float, smoothing: float) -> dict[str, Tensor]:
        """ITC, ITM, and where the batch has what they need MLM and the hard pairs, of a batch of
        :class:`.fulldata.Reader`; ``eda`` is what the edited captions count in the first two."""
        net, same = self.net, batch["same"]
        image = self.seen(batch["pixels"], batch.get("poses"))
        vectors = net.image_vectors(image).float()
        told: dict[str, Tensor] = defaultdict(float)
        for name, share in (("text", 1.0), ("edited", eda)):
            if f"{name}_ids" not in batch or not share:
                continue
            mask = batch[f"{name}_mask"]
            text = net.text_tokens(batch[f"{name}_ids"], mask)
            logits = losses.similarity(vectors, net.text_vectors(text).float(), net.temp)
            told["itc"] += share * losses.itc_loss_of(logits, same, smoothing)
            asked = losses.itm_pairs(logits, same)
            matched = net.match(text[asked.text], mask[asked.text], image[asked.image])
            told["itm"] += share * losses.itm_loss(matched.float(), asked.labels)
        if "hard_rows" in batch:
            told["hard"] = self._hard(batch, image)
        if self.cls is not None and "hidden" in batch:
            told["mlm"] = self._words(batch, image)
        return dict(told)

    def _hard(self, batch: Mapping[str, Tensor], image: Tensor) -> Tensor:
        """(I, T~) and (I~, T) of the rows that have an opposite state."""
        net, rows = self.net, batch["hard_rows"]
        other = self.seen(batch["hard_pixels"], batch.get("hard_poses"))
        ids = torch.cat([batch["hard_ids"], batch["text_ids"][rows]])
        mask = torch.cat([batch["hard_mask"], batch["text_mask"][rows]])
        matched = net.match(net.text_tokens(ids, mask), mask, torch.cat([image[rows], other]))
        return losses.hard_pair_loss(matched.float())

    def _words(self, batch: Mapping[str, Tensor], image: Tensor) -> Tensor:
        encoder, targets = self.net.text_encoder, batch["targets"]
        x = encoder.fuse(encoder(batch["hidden"], batch["text_mask"]), batch["text_mask"], image)
        at = targets != losses.IGNORED
        words = self.cls["predictions"](x[at], encoder.embeddings.word_embeddings.weight)
        return losses.mlm_loss(words.float(), targets[at])


def _fill(head: WordHead, init: Path) -> bool:
    """Whether ``init`` held a head of this size, now copied."""
    file, own = files.read(init), head.state_dict()
    for prefix in HEAD:
        theirs = {canonical(name).removeprefix(prefix): name for name in file.shapes}
        if all(n in theirs and file.shapes[theirs[n]] == tuple(v.shape) for n, v in own.items()):
            head.load_state_dict({n: file.tensor(theirs[n]).float() for n in own})
            return True
    return False


def evaluate(model: FullModel, check: Reader, k_test: int, batch: int, device: str) -> dict[str, float]:
    """R@1, R@5 and mAP in percent of the two-stage score over all pictures of ``check``, one query a caption."""
    net = model.net
    model.eval()
    try:
        with torch.inference_mode():
            tokens = _pictures(model, check, batch, device)
            vectors = torch.cat([net.image_vectors(t.to(device)).float() for t in tokens.split(batch)])
            s, m, asked = [], [], []
            for record in check.records:
                for caption in filter(clean_caption, record.captions):
                    near, matched = _asked(model, check, caption, tokens, vectors, k_test, batch, device)
                    s.append(near)
                    m.append(matched)
                    asked.append(record.image_id)
    finally:
        model.train()
    scores = two_stage(np.stack(m), np.stack(s), k_test=k_test)
    found = ranks_of(scores, asked, [r.image_id for r in check.records]).summary((1, 5))
    return {name: round(float(found[name] or 0.0), 2) for name in ("R@1", "R@5", "mAP")}


def _pictures(model: FullModel, check: Reader, batch: int, device: str) -> Tensor:
    """Tokens (N, 1 + L, D) on the CPU."""
    out = []
    for start in range(0, len(check), batch):
        columns = zip(*(check.plain(i) for i in range(start, min(start + batch, len(check)))), strict=True)
        pixels, *poses = (torch.from_numpy(np.stack(c)).to(device) for c in columns)
        out.append(model.seen(pixels, poses[0] if poses else None).float().cpu())
    return torch.cat(out)


def _asked(
    model: FullModel,
    check: Reader,
    caption: str,
    tokens: Tensor,
    vectors: Tensor,
    k_test: int,
    batch: int,
    device: str,
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) similarities of one caption, and its matching logits, NaN beyond the best ``k_test``."""
    from oddwatch.encoders.xvlm.nets import MATCH

    net = model.net
    ids, mask = (torch.from_numpy(a).to(device) for a in token_ids([caption], check.length))
    text = net.text_tokens(ids, mask)
    near: np.ndarray = (vectors @ net.text_vectors(text).float()[0]).cpu().numpy()
    matched = np.full(len(near), np.nan)
    best = np.flatnonzero(top_k(near[None], k_test)[0])
    for rows in np.split(best, range(batch, len(best), batch)):
        shown = tokens[torch.from_numpy(rows)].to(device)
        logits = net.match(text.expand(len(rows), -1, -1), mask.expand(len(rows), -1), shown)
        matched[rows] = logits[:, MATCH].float().cpu().numpy()
    return near, matched
