"""Full-size training of the published architectures, X-VLM and CMP, from a checkpoint: their losses, groups and schedules.

Sources: CMP (arXiv 2411.17776 §3.3, §4 and its code), X-VLM (arXiv 2111.08276, retrieval recipe). One process on one
device; on a GPU in bfloat16. **Full size was never run here** (but for one step of random weights): this code is tested
end to end with small networks on a CPU, and no number of ours stands behind the recipes. What differs from the published code: validation is on
videos of their own instead of on the test set, a picture and its pose map are varied alike, padding is never masked,
equal captions are no negatives of one another, pictures are not varied by RandAugment, synonyms come from the
sentence reader's tables, there is no dropout in the encoders and no stochastic depth, and contrastive negatives come
from one device's batch (the authors gather four; ``accumulate`` adds up gradients, not negatives).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.core import InputError, Progress, require
from oddwatch.datasets.pab import split_by_video
from oddwatch.datasets.records import Record
from oddwatch.train.fulldata import Reader, Varied
from oddwatch.train.schedule import CMP_FASTER, linear_schedule, parameter_groups, step_schedule

CMP_DIM = 2048
"""Dimensions of CMP's shared space."""


@dataclass(frozen=True, slots=True)
class FullWeights:
    """What each loss counts; 0 switches it off. ``eda`` of the edited captions in itc and itm, ``smoothing`` of the
    contrastive labels, 0–1."""

    itc: float = 1.0
    itm: float = 1.0
    mlm: float = 1.0
    hard: float = 1.0
    eda: float = 0.8
    smoothing: float = 0.2


@dataclass(frozen=True, slots=True)
class FullRecipe:
    """One full-size run; the defaults are CMP's.

    ``side`` in pixels (0: the checkpoint's own), ``length`` in words and tokens, ``shards`` of PAB, ``pairs`` most
    records learnt from (0: all), ``lr`` the highest rate, ``warmup`` in steps (0: a tenth of all), ``accumulate`` batches
    a step, ``patience`` in epochs, ``validation`` the share of videos held out and ``checks`` the most records of them,
    ``keep`` steps between saved states, ``then`` the offline stages that the system applies after it.
    """

    name: str
    architecture: Literal["cmp", "xvlm"]
    paper: str = ""
    side: int = 0
    length: int = 56
    shards: str | None = None
    pairs: int = 0
    seed: int = 8
    epochs: int = 30
    batch: int = 22
    accumulate: int = 1
    lr: float = 1e-4
    warmup: int = 500
    schedule: Literal["linear", "step"] = "step"
    patience: int = 5
    validation: float = 0.05
    checks: int = 500
    k_test: int = 128
    keep: int = 2000
    flip: float = 0.5
    erase: float = 0.6
    local: bool = False
    then: tuple[str, ...] = ()
    losses: FullWeights = FullWeights()

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch": 2, "accumulate": 1, "patience": 1, "checks": 2, "k_test": 1, "keep": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(
                    f"recipe {self.name}: {name}", f"expected {low} or more, got {getattr(self, name)}"
                )
        for name, known in (("architecture", ("cmp", "xvlm")), ("schedule", ("linear", "step"))):
            if getattr(self, name) not in known:
                given = getattr(self, name)
                raise InputError(
                    f"recipe {self.name}: {name}", f"expected {' or '.join(known)}, got {given!r}"
                )

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> FullRecipe:
        """The recipe that a TOML table tells. Raises TypeError for a field that is not known."""
        losses, then = FullWeights(**told.get("losses", {})), tuple(told.get("then", ()))
        return cls(**{**told, "losses": losses, "then": then})


def train_full(
    recipe: FullRecipe,
    records: Sequence[Record],
    init: str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    workers: int = 2,
    threads: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train ``recipe`` on ``records`` from the checkpoint ``init``; returns the card's path.

    ``out`` gets ``<architecture>.safetensors``, under the authors' names, of the best validation R@1, and its card. A
    run that was stopped goes on from its last saved state. ``init`` is of the same architecture; CMP also starts from
    X-VLM. ``seconds`` stops after the step in which that time is reached; ``workers`` threads prepare pictures.

    Raises:
        MissingExtra: torch is not installed. ModelError: ``init`` does not fit. InputError: too few records or videos,
            no pose maps for CMP, or a run of another recipe, checkpoint or data in ``out``.
    """
    torch = require("torch", for_="training a published architecture", extra="torch")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    run = _Run(recipe, records, Path(init), out, device, workers, torch)
    run.fit(seconds, progress)
    return run.finish()


def _loaded(recipe: FullRecipe, init: Path) -> Any:
    """The network to start from (:class:`oddwatch.encoders.xvlm.files.Loaded`)."""
    from oddwatch.encoders.xvlm import files

    family = files.family_in(init)
    if family == recipe.architecture:
        return files.load(init, side=recipe.side or None)
    if (recipe.architecture, family) != ("cmp", "xvlm"):
        raise InputError(str(init), f"is of {family}", f"the recipe trains {recipe.architecture}")
    sizes = replace(files.read(init).sizes, family="cmp", dim=CMP_DIM, pose_block=True, pose_conv=True)
    found = files.start_cmp(init, recipe.seed, sizes)
    if recipe.side not in (0, found.sizes.side):
        raise InputError(
            f"recipe {recipe.name}: side", f"CMP starts at its checkpoint's {found.sizes.side} pixels"
        )
    return found


class _Run:
    """One training: network, optimiser, the place reached, and how good the best was."""

    def __init__(
        self,
        recipe: FullRecipe,
        records: Sequence[Record],
        init: Path,
        out: Path,
        device: str,
        workers: int,
        torch: Any,
    ) -> None:
        from oddwatch.encoders.hub import torch_device
        from oddwatch.train.fullnet import FullModel

        self.recipe, self.out, self.workers, self.torch = recipe, out, workers, torch
        self.device, self.started = torch_device(device), time.perf_counter()
        loaded = _loaded(recipe, init)
        self.init, self.sizes, self.fingerprint = init, loaded.sizes, loaded.fingerprint
        self.model = FullModel(loaded.net, init, recipe.losses.mlm > 0).to(self.device).train()
        self.learn, self.check = _readers(recipe, records, loaded.sizes)
        self.data = _digest(self.learn.records)
        count = len(self.learn.order(0, recipe.batch))
        self.batches, self.total = count, recipe.epochs * -(-count // recipe.accumulate)
        # X-VLM's own recipe has nothing new that would learn faster.
        faster = CMP_FASTER if recipe.architecture == "cmp" else ()
        groups = parameter_groups(self.model.named_parameters(), faster=faster, lr=recipe.lr)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8)
        warm = recipe.warmup if 0 < recipe.warmup < self.total else self.total // 10
        rate = step_schedule if recipe.schedule == "step" else linear_schedule
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, partial(rate, total=self.total, warmup=warm, base=1.0)
        )
        self.epoch = self.batch = self.stale = 0
        self.sums: dict[str, float] = defaultdict(float)
        self.best: list[float] = []
        self.log: list[dict[str, float]] = []

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or patience has ended."""
        return self.epoch >= self.recipe.epochs or self.stale >= self.recipe.patience

    def fit(self, seconds: float | None, progress: Progress | None) -> None:
        """Epochs until the last, until patience ends, or until the time is up."""
        self._resume()
        until = None if seconds is None else self.started + seconds
        while not self.finished:
            if not self._epoch(until, progress):
                return
            score = self._score()
            self.log.append({"epoch": self.epoch + 1, **self._means(), **score})
            self.epoch, self.batch, self.stale = self.epoch + 1, 0, self.stale + 1
            self.sums.clear()
            if [score["R@1"], score["mAP"]] > self.best:
                self.best, self.stale = [score["R@1"], score["mAP"]], 0
                self._write()
            self._keep()
            if until is not None and time.perf_counter() >= until:
                return

    def _epoch(self, until: float | None, progress: Progress | None) -> bool:
        """The batches left of an epoch; False where the time was up, with the state kept."""
        size, each = self.recipe.batch, self.recipe.accumulate
        with closing(self.learn.batches(self.epoch, size, self.batch, self.workers)) as batches:
            for batch in batches:
                self._learn(batch)
                self.batch += 1
                if progress is not None:
                    what = f"epoch {self.epoch + 1} of {self.recipe.epochs}"
                    progress(what, self.batch, self.batches)
                if self.batch % each and self.batch < self.batches:
                    continue
                self._step()
                if self.batch == self.batches:
                    break
                late = until is not None and time.perf_counter() >= until
                if late or self.batch // each % self.recipe.keep == 0:
                    self._keep()
                if late:
                    return False
        return True

    def _learn(self, batch: Mapping[str, np.ndarray]) -> None:
        """Gradients of one batch. Chance is drawn anew for each, so that a run can go on from any."""
        torch, w = self.torch, self.recipe.losses
        torch.manual_seed(
            int(np.random.default_rng([self.recipe.seed, self.epoch, self.batch]).integers(2**31))
        )
        columns = {k: torch.from_numpy(v).to(self.device) for k, v in batch.items()}
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            told = self.model.losses(columns, w.eda, w.smoothing)
        loss = sum(getattr(w, name) * value for name, value in told.items())
        start = self.batch // self.recipe.accumulate * self.recipe.accumulate
        (loss / min(self.recipe.accumulate, self.batches - start)).backward()
        for name, value in told.items():
            self.sums[name] += float(value.detach())

    def _step(self) -> None:
        from oddwatch.train.fullnet import TEMPERATURE

        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        with self.torch.no_grad():
            self.model.net.temp.clamp_(*TEMPERATURE)

    def _means(self) -> dict[str, float]:
        return {name: round(value / max(1, self.batch), 4) for name, value in self.sums.items()}

    def _score(self) -> dict[str, float]:
        from oddwatch.train.fullnet import evaluate

        return evaluate(self.model, self.check, self.recipe.k_test, self.recipe.batch, self.device)

    def finish(self) -> Path:
        """The card's path; a run that had no time for an epoch leaves what it has."""
        if not self.best:
            self._write()
        if self.finished:
            (self.out / "resume.pt").unlink(missing_ok=True)
        path = self.out / f"{self.recipe.architecture}.json"
        path.write_text(json.dumps(self._card(), indent=1) + "\n", encoding="utf-8")
        return path

    def _card(self) -> dict[str, Any]:
        kept = dict(zip(("R@1", "mAP"), self.best, strict=False))
        return {
            "family": self.recipe.architecture,
            "sizes": self.sizes.to_json(),
            "recipe": asdict(self.recipe),
            "init": {"file": self.init.name, "weights": self.fingerprint, "word head": self.model.head},
            "records": len(self.learn),
            "data_hash": self.data,
            "validation": {"records": len(self.check), **kept},
            "finished": self.finished,
            "log": self.log,
            "seconds": round(time.perf_counter() - self.started, 1),
        }

    def _write(self) -> None:
        from safetensors.torch import save_file

        from oddwatch.encoders.xvlm.files import CARD

        target = self.out / f"{self.recipe.architecture}.safetensors"
        scratch = target.with_suffix(".part")
        save_file(self.model.published(), scratch, metadata={CARD: json.dumps(self._card())})
        scratch.replace(target)

    def _about(self) -> list[Any]:
        """What a saved state must belong to."""
        return json.loads(json.dumps([asdict(self.recipe), self.fingerprint, self.data]))

    def _keep(self) -> None:
        told = [self.epoch, self.batch, self.stale, self.best, self.log, dict(self.sums)]
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "told": json.dumps([told, self._about()]),
        }
        scratch = self.out / "resume.part"
        self.torch.save(state, scratch)
        scratch.replace(self.out / "resume.pt")

    def _resume(self) -> None:
        path = self.out / "resume.pt"
        if not path.exists():
            return
        state = self.torch.load(path, weights_only=True, map_location=self.device)
        told, about = json.loads(state["told"])
        if about != self._about():
            what = "belongs to a run of another recipe, checkpoint or data"
            raise InputError(str(path), what, "choose another --out, or remove it")
        self.epoch, self.batch, self.stale, self.best, self.log, sums = told
        self.sums.update(sums)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])


def _readers(recipe: FullRecipe, records: Sequence[Record], sizes: Any) -> tuple[Reader, Reader]:
    """What is learnt from and, of other videos, what is validated on."""
    usable = [r for r in records if r.kind != "scene" and any(c.strip() for c in r.captions)]
    learn, check = split_by_video(usable, recipe.validation, recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    learn = _drawn(learn, recipe.pairs or len(learn), rng)
    check = _drawn(check, recipe.checks, rng)
    if len(learn) < 2:
        raise InputError("training data", f"expected two or more captioned pictures, got {len(learn)}")
    made = partial(
        Reader, side=sizes.side, length=recipe.length, seed=recipe.seed, poses=bool(sizes.pose_block)
    )
    w = recipe.losses
    how = Varied(recipe.flip, recipe.erase, recipe.local)
    return made(learn, hide=w.mlm > 0, edit=w.eda > 0, hard=w.hard > 0, how=how), made(check)


def _drawn(records: Sequence[Record], most: int, rng: np.random.Generator) -> list[Record]:
    at = np.sort(rng.permutation(len(records))[:most])
    return [records[i] for i in at.tolist()]


def _digest(records: Sequence[Record]) -> str:
    """Hash of names and captions."""
    digest = hashlib.blake2b(digest_size=12)
    for r in records:
        digest.update(json.dumps([r.image, r.image_id, r.captions, r.source_id]).encode())
    return digest.hexdigest()
