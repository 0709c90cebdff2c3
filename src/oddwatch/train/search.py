"""Training the small cross-encoder from a recipe: contrastive, matching, hard-pair and cloze losses over frozen tokens.

A recipe is a TOML file beside this one (``train/recipes``) or of the user's own. A run writes ``cross.safetensors`` and
its card ``cross.json``; it is a function of recipe, data and seed, can be stopped and resumed, and keeps the weights of
the best validation. Validation people are drawn apart (or, of the user's data, of other videos).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import InputError, Progress, require
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.features import gains_of
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.search.cross import CrossModel, Looks
from oddwatch.train import pairs as drawn
from oddwatch.train.negatives import HardNegatives, merged_ids
from oddwatch.train.pairs import Pairs
from oddwatch.train.recipe import Recipe
from oddwatch.train.texts import MOST_BLANKS, Texts, atom_words, encode_texts
from oddwatch.train.weigh_stages import fit_sum, surprise

VALIDATION = 499_993
"""Added to a recipe's seed for the validation people."""
KEPT_TOKENS = 20_000
"""Word pieces that the sentence's projection is made of."""
VALIDATION_TWINS = 100
"""Their captions are of family B: other templates and words than what is learnt from."""


class _Batcher:
    """Columns of the training set as torch tensors, a batch at a time."""

    def __init__(self, data: Pairs, texts: Texts, torch: Any) -> None:
        self.torch, self.texts = torch, texts
        self.tokens = torch.from_numpy(data.tokens)
        self.geometry = torch.from_numpy(data.geometry)
        self.evidence = torch.from_numpy(gains_of(data.p, data.known))
        self.known = torch.from_numpy(data.known)

    def looks(self, at: np.ndarray) -> tuple[Any, ...]:
        """Part tokens, geometry, evidence and known of the pictures ``at``."""
        i = self.torch.from_numpy(np.asarray(at, np.int64))
        return self.tokens[i].float() / 127, self.geometry[i], self.evidence[i], self.known[i].float()

    def padded(self, rows: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """(B, T, D) float32 tokens and (B, T) bool of what is no padding."""
        longest = max(len(r) for r in rows)
        out = np.zeros((len(rows), longest, rows[0].shape[1]), np.float32)
        keep = np.zeros((len(rows), longest), bool)
        for i, row in enumerate(rows):
            out[i, : len(row)], keep[i, : len(row)] = row, True
        return self.torch.from_numpy(out), self.torch.from_numpy(keep)


def train_search(
    recipe: Recipe,
    out: str | Path,
    *,
    data: Pairs | None = None,
    cache: Path | None = None,
    workers: int = 2,
    threads: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train ``recipe`` and return the card's path; a run that was stopped goes on from its last whole epoch.

    ``data`` replaces the drawn twins (its videos are split for validation). ``cache`` keeps drawn pairs between runs
    (default: inside ``out``). ``seconds`` stops training after the epoch in which that time is reached.

    Raises:
        MissingExtra: torch is not installed. InputError: data of one video, a picture without a caption, too few pictures,
            or a run of another recipe or other data in ``out``.
    """
    torch = require("torch", for_="training the cross-encoder", extra="torch")
    from oddwatch.pipeline.models import Models

    started, out = time.perf_counter(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    if threads is not None:
        torch.set_num_threads(threads)
    store = cache or out / "pairs"
    store.mkdir(parents=True, exist_ok=True)
    learn, check = _split(data, recipe.seed) if data is not None else _drawn(recipe, store, workers, progress)
    encoder = Models(threads=threads).sentence
    texts = encode_texts(learn, encoder, recipe.losses.mlm > 0, progress, store, recipe.otherwise)
    checks = encode_texts(check, encoder, False, None, store)
    prepared = time.perf_counter() - started
    run = _Run(recipe, learn, texts, check, checks, out, torch, atom_words(encoder))
    run.fit(seconds, progress)
    card = run.card(
        run.summed(), {"prepare": round(prepared, 1), "all": round(time.perf_counter() - started, 1)}
    )
    path = write(out, run.best, card)
    if run.finished:
        (out / "resume.pt").unlink(missing_ok=True)
    return path


def _drawn(recipe: Recipe, store: Path, workers: int, progress: Progress | None) -> tuple[Pairs, Pairs]:
    learn = drawn.read(drawn.shards(store, recipe.seed, recipe.twins, "A", workers, progress))
    check = drawn.read(
        drawn.shards(store, recipe.seed + VALIDATION, VALIDATION_TWINS, "B", workers, progress)
    )
    return learn, check


def _split(data: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """A tenth of the videos (at most 100) apart."""
    videos = np.unique(data.twin)
    if not all(data.captions):
        raise InputError("training data", "expected a caption or more of every picture")
    if len(videos) < 2:
        raise InputError("training data", "expected pictures of two or more videos")
    held = np.random.default_rng(seed).permutation(videos)[: max(1, min(100, len(videos) // 10))]
    inside = np.isin(data.twin, held)
    return data.rows(np.flatnonzero(~inside)), data.rows(np.flatnonzero(inside))


class _Run:
    """One training: network, optimiser, what was best so far, and the epoch reached."""

    def __init__(
        self,
        recipe: Recipe,
        learn: Pairs,
        texts: Texts,
        check: Pairs,
        checks: Texts,
        out: Path,
        torch: Any,
        names: np.ndarray,
    ) -> None:
        from oddwatch.train.crossnet import CrossNet
        from oddwatch.train.schedule import linear_schedule, parameter_groups, step_schedule

        self.recipe, self.learn, self.texts, self.check, self.checks = recipe, learn, texts, check, checks
        self.torch, self.out = torch, out
        self.data_hash = drawn.fingerprint(learn)
        shape = {k: v for k, v in asdict(recipe.model).items() if k != "words_drop"}
        self.net = CrossNet(learn.geometry, words=len(texts.vocabulary), **shape)
        self.net.keep_words(texts.sample(KEPT_TOKENS, recipe.seed))
        self.net.name_facts(names)
        groups = parameter_groups(self.net.named_parameters(), faster=(r"^itm_",), lr=recipe.lr)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8)
        self.steps = recipe.epochs * len(texts.batches(learn, recipe.batch, np.random.default_rng(0)))
        if self.steps < 2:
            raise InputError("training data", f"expected at least {2 * recipe.batch} pictures")
        warm = min(recipe.warmup, self.steps // 10)
        rate = step_schedule if recipe.schedule == "step" else linear_schedule
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, partial(rate, total=self.steps, warmup=warm, base=1.0)
        )
        self.batches = _Batcher(learn, texts, torch)
        self.partners = HardNegatives(learn.source_ids)
        self.epoch, self.stale = 0, 0
        self.best: dict[str, np.ndarray] = {}
        self.best_score = float("inf")
        self.log: list[dict[str, float]] = []

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or patience has ended."""
        return self.epoch >= self.recipe.epochs or self.stale >= self.recipe.patience

    def fit(self, seconds: float | None, progress: Progress | None) -> None:
        """Epochs until the last, until patience ends, or until the time is up."""
        self._resume()
        started = time.perf_counter()
        while not self.finished:
            losses = self._epoch(progress)
            score = validate(CrossModel(self._arrays(), self._about()), self.check, self.checks)
            self.epoch += 1
            self.stale += 1
            if score["surprise"] < self.best_score:
                self.best_score, self.best, self.stale = score["surprise"], self._arrays(), 0
            self.log.append({"epoch": self.epoch, **losses, **score})
            self._keep()
            if seconds is not None and time.perf_counter() - started > seconds:
                break

    def _epoch(self, progress: Progress | None) -> dict[str, float]:
        rng = np.random.default_rng([self.recipe.seed, self.epoch])
        self.net.train()
        total: dict[str, float] = defaultdict(float)
        batches = self.texts.batches(self.learn, self.recipe.batch, rng)
        for n, rows in enumerate(batches):
            for name, value in self._step(rows).items():
                total[name] += value
            if progress is not None:
                progress(f"epoch {self.epoch + 1} of {self.recipe.epochs}", n + 1, len(batches))
        return {name: round(value / len(batches), 4) for name, value in total.items()}

    def _step(self, rows: np.ndarray) -> dict[str, float]:
        from oddwatch.train import losses

        torch, net, w = self.torch, self.net, self.recipe.losses
        pictures = self.texts.picture[rows]
        tokens, keep = self.batches.padded([self.texts.tokens[i] for i in rows])
        keep[:, 1:] &= torch.rand(keep.shape)[:, 1:] >= self.recipe.model.words_drop
        states, words, counts = net.encode_text(tokens, keep)
        seen, look = net.encode_looks(*self.batches.looks(pictures))
        ids = torch.from_numpy(merged_ids(pictures.tolist(), [self.texts.text[i] for i in rows]))
        near = net.near(words, counts, look)
        logits = near / net.temperature
        slots = torch.from_numpy(self.texts.priors(rows, looks_at(self.learn, pictures))).T
        told = {"itc": losses.itc_loss_of(logits, ids, w.smoothing)}
        read = net.read(states, keep)
        # Negatives that both the gate and the slots take for a match are the hard ones.
        asked = losses.itm_pairs(logits + net.itm_prior * slots if net.facts else logits, ids)
        text_of, image_of = asked.text, asked.image
        hard = self._opposites(pictures) if w.hard else np.empty((2, 0), np.int64)
        text_of = torch.cat([text_of, torch.from_numpy(hard[0])])
        image_of = torch.cat([image_of, torch.from_numpy(hard[1])])
        pair = (image_of, text_of)
        matched = net.match(read[text_of], keep[text_of], seen[image_of], near[pair], slots[pair])
        told["itm"] = losses.itm_loss(matched[: len(asked)], asked.labels)
        if hard.size:
            told["hard"] = losses.hard_pair_loss(matched[len(asked) :])
        if w.mlm:
            told["mlm"] = self._cloze(rows, seen)
        loss = sum(getattr(w, name) * value for name, value in told.items())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        self.optimizer.step()
        self.scheduler.step()
        return {name: float(value.detach()) for name, value in told.items()}

    def _opposites(self, pictures: np.ndarray) -> np.ndarray:
        """(2, H) places (text, image) of one video's opposite states in the batch: both (I~, T) and (I, T~)."""
        place = {int(p): i for i, p in enumerate(pictures)}
        found = [
            (i, place[o])
            for i, p in enumerate(pictures)
            for o in self.partners.candidates(int(p))
            if o in place
        ]
        return np.array(found, np.int64).reshape(-1, 2).T.copy()

    def _cloze(self, rows: np.ndarray, seen: Any) -> Any:
        """The hidden words of the captions, given their own picture."""
        from oddwatch.train import losses

        torch, net = self.torch, self.net
        have = [k for k, i in enumerate(rows) if len(self.texts.blanked[i])]
        if not have:
            return seen.sum() * 0
        tokens, keep = self.batches.padded([self.texts.blanked[rows[k]] for k in have])
        places = torch.zeros(len(have), MOST_BLANKS, dtype=torch.int64)
        words = torch.full((len(have), MOST_BLANKS), losses.IGNORED, dtype=torch.int64)
        for row, k in enumerate(have):
            at, what = self.texts.places[rows[k]], self.texts.words[rows[k]]
            places[row, : len(at)], words[row, : len(at)] = torch.tensor(at), torch.tensor(what)
        read = net.read(net.encode_text(tokens, keep)[0], keep)
        return losses.mlm_loss(net.fill(read, keep, seen[torch.tensor(have)], places), words)

    def _arrays(self) -> dict[str, np.ndarray]:
        from oddwatch.train.crossnet import arrays_of

        return {k: v.copy() for k, v in arrays_of(self.net).items()}

    def _about(self) -> dict[str, Any]:
        return {"schema": SCHEMA_ID, **asdict(self.recipe.model), "words": self.texts.vocabulary}

    def summed(self) -> dict[str, float]:
        """The weights of the stage ``sum``, fitted on the validation people with the best network."""
        return fit_sum(*_held(CrossModel(self.best, self._about()), self.check, self.checks))

    def card(self, summed: dict[str, float], spent: dict[str, float]) -> dict[str, Any]:
        """What was trained, on what, and how it came out."""
        return {
            "name": "cross-encoder over frozen tokens",
            **self._about(),
            "recipe": asdict(self.recipe),
            "pairs": len(self.texts.text),
            "pictures": len(self.learn),
            "data_hash": self.data_hash,
            "sum": summed,
            "validation": {"pictures": len(self.check), "surprise": self.best_score},
            "log": self.log,
            "seconds": spent,
        }

    def _keep(self) -> None:
        """The state after a whole epoch, for a later run."""
        scratch = self.out / "resume.part"
        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": self.torch.get_rng_state(),
            "data": self.data_hash,
            "best": {k: self.torch.from_numpy(v) for k, v in self.best.items()},
            "told": json.dumps(
                [
                    self.epoch,
                    self.stale,
                    self.best_score,
                    self.log,
                    json.loads(json.dumps(asdict(self.recipe))),
                ]
            ),
        }
        self.torch.save(state, scratch)
        scratch.replace(self.out / "resume.pt")

    def _resume(self) -> None:
        path = self.out / "resume.pt"
        if not path.exists():
            return
        state = self.torch.load(path, weights_only=True)
        told = json.loads(state["told"])
        if told[4] != json.loads(json.dumps(asdict(self.recipe))):
            raise InputError(
                str(path), "belongs to a run of another recipe", "choose another --out, or remove it"
            )
        if state.get("data") != self.data_hash:
            raise InputError(
                str(path), "belongs to a run on other data", "choose another --out, or remove it"
            )
        self.epoch, self.stale, self.best_score, self.log = told[:4]
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.torch.set_rng_state(state["random"])
        self.best = {k: v.numpy() for k, v in state["best"].items()}


def looks_at(data: Pairs, at: np.ndarray | None = None) -> Looks:
    """What a gallery would keep of the pictures ``at`` of ``data``; of all without it."""
    rows = slice(None) if at is None else at
    return Looks(data.tokens[rows], data.geometry[rows], data.p[rows], data.known[rows])


def asked_rows(check: Pairs, texts: Texts) -> list[int]:
    """One caption of each picture, from the shorter or the longer half of its own: by turns, so that of every two pairs of
    twins each state is asked once with either."""
    starts = np.searchsorted(texts.picture, np.arange(len(check) + 1))
    return [a + ((i + 1) // 2 % 2) * ((b - a) // 2) for i, (a, b) in enumerate(pairwise(starts.tolist()))]


def scores_of(model: CrossModel, check: Pairs, texts: Texts) -> np.ndarray:
    """(N, N) log odds of one caption a picture (:func:`asked_rows`) with all pictures of ``check``."""
    return _held(model, check, texts)[1]


def _held(model: CrossModel, check: Pairs, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """(N, N) what the slots say, 0 to a network that does not read facts, and the log odds of the match."""
    looks, rows = looks_at(check), asked_rows(check, texts)
    prior = texts.priors(np.array(rows), looks) if model.facts else np.zeros((len(rows), len(check)))
    seen = model.looks(looks)
    read = (model.text(texts.tokens[r].astype(np.float32)) for r in rows)
    return prior, np.array([model.match(text, seen, p) for text, p in zip(read, prior, strict=True)])


def validate(model: CrossModel, check: Pairs, texts: Texts) -> dict[str, float]:
    """How well one caption a picture finds it among all pictures of ``check``: R@1 and R@5 of the match in percent, R@1 of its
    sum with the facts, and that sum's ``surprise`` in nats, the smoother figure by which the best epoch is chosen."""
    prior, scores = _held(model, check, texts)
    weights = fit_sum(prior, scores)
    total = weights["facts"] * prior + weights["cross"] * scores
    ids = list(range(len(check)))
    found, summed = ranks_of(scores, ids, ids), ranks_of(total, ids, ids)
    partners = HardNegatives(check.source_ids)
    ahead = [scores[i, i] > scores[i, t] for i in range(len(check)) for t in partners.candidates(i)]
    told = {
        "R@1": round(100 * float(found.hits(1).mean()), 2),
        "R@5": round(100 * float(found.hits(5).mean()), 2),
        "sum R@1": round(100 * float(summed.hits(1).mean()), 2),
        "surprise": round(surprise(total), 4),
    }
    return told | ({"own twin first": round(float(np.mean(ahead)), 3)} if ahead else {})


def write(out: Path, arrays: dict[str, np.ndarray], card: dict[str, Any]) -> Path:
    """Large arrays as float16 safetensors, and the card with their hash; returns the card's path."""
    from safetensors.numpy import save

    small = {
        k: np.array(v, np.float16 if v.size > 4096 else np.float32, order="C") for k, v in arrays.items()
    }
    blob = save(small)
    (out / "cross.safetensors").write_bytes(blob)
    whole = {**card, "bytes": len(blob), "blake2b": hashlib.blake2b(blob, digest_size=16).hexdigest()}
    path = out / "cross.json"
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return path
