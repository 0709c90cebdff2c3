"""Training the small cross-encoder from a recipe: contrastive, matching, hard-pair and cloze losses over frozen tokens.

A recipe is a TOML file beside this one (``train/recipes``) or of the user's own. A run writes ``cross.safetensors`` and
its card ``cross.json``; it is a function of recipe, data and seed, can be stopped and resumed, and keeps the weights of
the best validation R@1. Validation people are drawn apart (or, of the user's data, of other videos).
"""

from __future__ import annotations

import hashlib
import json
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.core import InputError, Progress, require
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.features import gains_of
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.search.cloze import generate
from oddwatch.search.cross import MOST_TOKENS, CrossModel, Looks, parts_of
from oddwatch.train import pairs as drawn
from oddwatch.train.fullsize import FullRecipe
from oddwatch.train.negatives import HardNegatives, merged_ids
from oddwatch.train.pairs import Pairs

VALIDATION = 499_993
"""Added to a recipe's seed for the validation people."""
VALIDATION_TWINS = 100
RAREST = 20
"""A hidden word must be seen this often to be in the cloze head's vocabulary."""
MOST_BLANKS = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's size, and which parts of it are on."""

    dim: int = 128
    heads: int = 4
    layers: int = 2
    pose: bool = True
    facts: bool = True
    parts_drop: float = 0.2
    facts_drop: float = 0.15


@dataclass(frozen=True, slots=True)
class Weights:
    """What each loss counts; 0 switches it off. ``smoothing`` of the contrastive labels, 0–1."""

    itc: float = 1.0
    itm: float = 1.0
    hard: float = 1.0
    mlm: float = 0.5
    smoothing: float = 0.2


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run. ``twins`` pairs are drawn with ``seed`` unless data is given; ``lr`` is the highest rate;
    ``schedule`` of X-VLM (linear) or CMP (step), ``warmup`` in steps; ``patience`` in epochs; ``then`` names the offline
    stages that the system applies after it."""

    name: str
    paper: str = ""
    twins: int = 5000
    seed: int = 8
    epochs: int = 10
    batch: int = 96
    lr: float = 1e-3
    warmup: int = 200
    schedule: Literal["linear", "step"] = "linear"
    patience: int = 4
    then: tuple[str, ...] = ()
    model: Shape = Shape()
    losses: Weights = Weights()

    def __post_init__(self) -> None:
        for name in ("twins", "epochs", "batch", "patience"):
            if getattr(self, name) < (2 if name == "batch" else 1):
                raise InputError(f"recipe {self.name}: {name}", f"expected more, got {getattr(self, name)}")
        if self.schedule not in ("linear", "step"):
            raise InputError(
                f"recipe {self.name}: schedule", f"expected linear or step, got {self.schedule!r}"
            )


def recipes() -> list[str]:
    """The names of the packaged recipes."""
    folder = resources.files("oddwatch.train") / "recipes"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str) -> Recipe | FullRecipe:
    """A packaged recipe by name, or a TOML file by path; one that names an ``architecture`` is of full size.

    Raises:
        InputError: no such recipe, not TOML, or a field that is not known.
    """
    own = Path(name)
    if own.suffix == ".toml" or own.is_file():
        where: Any = own
    elif name in recipes():
        where = resources.files("oddwatch.train") / "recipes" / f"{name}.toml"
    else:
        raise InputError(f"recipe {name!r}", "not known", f"one of {', '.join(recipes())}, or a .toml file")
    try:
        told = tomllib.loads(where.read_text(encoding="utf-8"))
        if "architecture" in told:
            return FullRecipe.of(told)
        parts = {"model": Shape(**told.pop("model", {})), "losses": Weights(**told.pop("losses", {}))}
        return Recipe(**{**told, **parts, "then": tuple(told.get("then", ()))})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise InputError(f"recipe {name}", f"cannot be read: {error}") from error


@dataclass(slots=True, eq=False)
class Texts:
    """The captions of :class:`Pairs` as frozen tokens. Caption i belongs to picture ``picture[i]``; ``blanked`` are its
    tokens with doing and colour words hidden, ``places`` and ``words`` (numbers in ``vocabulary``) what is hidden."""

    picture: np.ndarray
    text: list[str]
    tokens: list[np.ndarray]
    blanked: list[np.ndarray] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)
    vocabulary: list[str] = field(default_factory=list)

    def batches(self, data: Pairs, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """One epoch: batches of whole videos, so that every hard negative is at hand, with a caption of each picture;
        once with the shorter half of the captions and once with the longer one, so that little is padding."""
        longer = np.array([len(t) for t in self.tokens])
        starts = np.searchsorted(self.picture, np.arange(len(data) + 1))
        own = [np.arange(a, b)[np.argsort(longer[a:b], kind="stable")] for a, b in pairwise(starts.tolist())]
        of_video: dict[int, list[int]] = {}
        for picture, video in enumerate(data.twin.tolist()):
            of_video.setdefault(video, []).append(picture)
        out = []
        for half in (0, 1):
            videos = rng.permutation(np.array(list(of_video)))
            flat = [p for v in videos.tolist() for p in _two_states(of_video[v], data.abnormal, rng)]
            for start in range(0, len(flat) - size + 1, size):
                picked = [_half(own[p], half) for p in flat[start : start + size]]
                out.append(np.array([int(rng.choice(c)) for c in picked if len(c)]))
        return [out[i] for i in rng.permutation(len(out))]


def _two_states(pictures: list[int], abnormal: np.ndarray, rng: np.random.Generator) -> list[int]:
    """One picture of each state that a video has."""
    states = ([p for p in pictures if abnormal[p] == state] for state in (False, True))
    return [int(rng.choice(s)) for s in states if s]


def _half(captions: np.ndarray, half: int) -> np.ndarray:
    """The shorter (0) or longer (1) half of captions sorted by length; the only one is both."""
    cut = len(captions) // 2
    return captions[cut:] if half or len(captions) < 2 else captions[:cut]


def encode_texts(
    data: Pairs, encoder: Any, cloze: bool, progress: Progress | None = None, store: Path | None = None
) -> Texts:
    """All captions through the frozen sentence encoder; with ``cloze`` every second one also with its words hidden.

    With a folder ``store`` the result is kept there and read again for the same data.
    """
    name = f"texts_{drawn.fingerprint(data)}{'_cloze' if cloze else ''}.npz"
    if store is not None and (store / name).exists():
        return _read_texts(store / name)
    flat = [(i, text) for i, own in enumerate(data.captions) for text in own]
    out = Texts(np.array([i for i, _ in flat]), [t for _, t in flat], [])
    for start in range(0, len(flat), 512):
        found = encoder.tokens(out.text[start : start + 512], MOST_TOKENS)
        out.tokens += [t.astype(np.float16) for t in found]
        if progress is not None:
            progress("reading captions", len(out.tokens), len(flat))
    if cloze:
        _hide(out, encoder, progress)
    if store is not None:
        _write_texts(out, store / name)
    return out


def _hide(out: Texts, encoder: Any, progress: Progress | None) -> None:
    clozes = [generate(text) if i % 2 == 0 else None for i, text in enumerate(out.text)]
    count = Counter(word.word.lower() for c in clozes if c is not None for word in c.key)
    out.vocabulary = sorted(word for word, n in count.items() if n >= min(RAREST, len(clozes) // 50 + 1))
    number = {word: i for i, word in enumerate(out.vocabulary)}
    for n, cloze in enumerate(clozes):
        told: list[tuple[int, int]] = []
        hidden = np.empty((0, 0), np.float16)
        if cloze is not None and cloze.blanks:
            found, at = encoder.blanked(parts_of(cloze.masked, cloze.blanks), MOST_TOKENS)
            all_told = [(p, number.get(k.word.lower(), -1)) for p, k in zip(at, cloze.key, strict=False)]
            told = [t for t in all_told if t[1] >= 0][:MOST_BLANKS]
            hidden = found.astype(np.float16) if told else hidden
        out.blanked.append(hidden)
        out.places.append([p for p, _ in told])
        out.words.append([w for _, w in told])
        if progress is not None and n % 500 == 499:
            progress("hiding words", n + 1, len(clozes))


def _write_texts(texts: Texts, path: Path) -> None:
    told = {"text": texts.text, "places": texts.places, "words": texts.words, "vocabulary": texts.vocabulary}
    columns = {"picture": texts.picture, "told": np.array(json.dumps(told))}
    for name, rows in (("tokens", texts.tokens), ("blanked", [r for r in texts.blanked if len(r)])):
        columns[name] = np.concatenate(rows) if rows else np.empty((0, 384), np.float16)
    columns["tokens_len"] = np.array([len(r) for r in texts.tokens])
    columns["blanked_len"] = np.array([len(r) for r in texts.blanked], np.int64)
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
    scratch.replace(path)


def _read_texts(path: Path) -> Texts:
    with np.load(path, allow_pickle=False) as data:
        told = json.loads(str(data["told"]))
        tokens = np.split(data["tokens"], np.cumsum(data["tokens_len"])[:-1])
        blanked = (
            np.split(data["blanked"], np.cumsum(data["blanked_len"])[:-1]) if len(data["blanked_len"]) else []
        )
        picture = data["picture"]
    return Texts(picture, told["text"], tokens, blanked, told["places"], told["words"], told["vocabulary"])


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
    texts = encode_texts(learn, encoder, recipe.losses.mlm > 0, progress, store)
    checks = encode_texts(check, encoder, False, None, store)
    prepared = time.perf_counter() - started
    run = _Run(recipe, learn, texts, check, checks, out, torch)
    run.fit(seconds, progress)
    card = run.card({"prepare": round(prepared, 1), "all": round(time.perf_counter() - started, 1)})
    path = write(out, run.best, card)
    if run.finished:
        (out / "resume.pt").unlink(missing_ok=True)
    return path


def _drawn(recipe: Recipe, store: Path, workers: int, progress: Progress | None) -> tuple[Pairs, Pairs]:
    learn = drawn.read(drawn.shards(store, recipe.seed, recipe.twins, "A", workers, progress))
    check = drawn.read(
        drawn.shards(store, recipe.seed + VALIDATION, VALIDATION_TWINS, "A", workers, progress)
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
        self, recipe: Recipe, learn: Pairs, texts: Texts, check: Pairs, checks: Texts, out: Path, torch: Any
    ) -> None:
        from oddwatch.train.crossnet import CrossNet
        from oddwatch.train.schedule import linear_schedule, parameter_groups, step_schedule

        self.recipe, self.learn, self.texts, self.check, self.checks = recipe, learn, texts, check, checks
        self.torch, self.out = torch, out
        self.data_hash = drawn.fingerprint(learn)
        shape = asdict(recipe.model)
        self.net = CrossNet(learn.geometry, words=len(texts.vocabulary), **shape)
        groups = parameter_groups(self.net.named_parameters(), faster=(r"^itm_|_vector",), lr=recipe.lr)
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
        self.best_score = -1.0
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
            if score["R@1"] > self.best_score:
                self.best_score, self.best, self.stale = score["R@1"], self._arrays(), 0
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
        states, text = net.encode_text(tokens, keep)
        seen, look = net.encode_looks(*self.batches.looks(pictures))
        ids = torch.from_numpy(merged_ids(pictures.tolist(), [self.texts.text[i] for i in rows]))
        logits = losses.similarity(look, text, net.temperature)
        told = {"itc": losses.itc_loss_of(logits, ids, w.smoothing)}
        read = net.read(states, keep)
        asked = losses.itm_pairs(logits, ids)
        text_of, image_of = asked.text, asked.image
        hard = self._opposites(pictures) if w.hard else np.empty((2, 0), np.int64)
        text_of = torch.cat([text_of, torch.from_numpy(hard[0])])
        image_of = torch.cat([image_of, torch.from_numpy(hard[1])])
        matched = net.match(read[text_of], keep[text_of], seen[image_of])
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

    def card(self, spent: dict[str, float]) -> dict[str, Any]:
        """What was trained, on what, and how it came out."""
        return {
            "name": "cross-encoder over frozen tokens",
            **self._about(),
            "recipe": asdict(self.recipe),
            "pairs": len(self.texts.text),
            "pictures": len(self.learn),
            "data_hash": self.data_hash,
            "validation": {"pictures": len(self.check), "R@1": self.best_score},
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


def validate(model: CrossModel, check: Pairs, texts: Texts) -> dict[str, float]:
    """R@1 in percent of one caption a picture (short and long by turns) against all pictures of ``check``."""
    seen = model.looks(Looks(check.tokens, check.geometry, check.p, check.known))
    starts = np.searchsorted(texts.picture, np.arange(len(check) + 1))
    rows = [a + (i % 2) * ((b - a) // 2) for i, (a, b) in enumerate(pairwise(starts.tolist()))]
    scores = np.array([model.match(model.text(texts.tokens[r].astype(np.float32))[0], seen) for r in rows])
    found = ranks_of(scores, list(range(len(check))), list(range(len(check))))
    partners = HardNegatives(check.source_ids)
    ahead = [scores[i, i] > scores[i, t] for i in range(len(check)) for t in partners.candidates(i)]
    told = {
        "R@1": round(100 * float(found.hits(1).mean()), 2),
        "R@5": round(100 * float(found.hits(5).mean()), 2),
    }
    return told | ({"own twin first": round(float(np.mean(ahead)), 3)} if ahead else {})


def write(out: Path, arrays: dict[str, np.ndarray], card: dict[str, Any]) -> Path:
    """Large arrays as float16 safetensors, and the card with their hash; returns the card's path."""
    from safetensors.numpy import save

    small = {
        k: np.ascontiguousarray(v, np.float16 if v.size > 4096 else np.float32) for k, v in arrays.items()
    }
    blob = save(small)
    (out / "cross.safetensors").write_bytes(blob)
    whole = {**card, "bytes": len(blob), "blake2b": hashlib.blake2b(blob, digest_size=16).hexdigest()}
    path = out / "cross.json"
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return path
