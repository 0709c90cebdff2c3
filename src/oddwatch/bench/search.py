"""Sentence → picture retrieval over a captioned set: the rows of ``oddwatch bench search``."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.bench import baselines, facts, nobody, oracle, slots
from oddwatch.bench import stages as compositions
from oddwatch.bench.moments import packaged_index, run_moment_bench
from oddwatch.bench.subjects import (
    Asked,
    Described,
    Gallery,
    Language,
    Looker,
    ask,
    describe_all,
    packaged_looker,
)
from oddwatch.core import ChatModel, DualEncoder, Facts, InputError, Progress
from oddwatch.datasets.formats import FOOTAGE_READERS, READERS, detect_format
from oddwatch.datasets.records import Record, frame, pixels, read_records
from oddwatch.metrics.retrieval import (
    Ranks,
    bootstrap,
    expected_at_random,
    mcnemar,
    paired_bootstrap,
    ranks_of,
)
from oddwatch.pipeline.models import Models
from oddwatch.search.stages import DEFAULT_STAGES

SHORT_WORDS = 14
"""A query of at most this many words is short."""
BASE = ("coarse", "facts")
"""What every run measures; the rows about facts, twins, slots and nobody are of these."""
DOING = frozenset({"posture", "action", "motion"})
"""Kinds of slots that say what somebody does."""
PERCENT = ("R@1", "R@5", "R@10", "mAP", "mAP@10", "mINP")

Row = dict[str, Any]


def length_of(text: str) -> str:
    """``short`` or ``long``, by the number of words."""
    return "short" if len(re.findall(r"\w+", text)) <= SHORT_WORDS else "long"


def run_search_bench(
    data: str | Path | Sequence[Record],
    *,
    stages: Sequence[str] | None = None,
    ladder: bool = False,
    chat: ChatModel | None = None,
    sees: bool = True,
    cross: str | Path | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    depth: int = 200,
    progress: Progress | None = None,
    look: Looker | None = None,
    language: Language | None = None,
    evidence: Callable[[Facts], np.ndarray] | None = None,
    dual: DualEncoder | None = None,
) -> list[Row]:
    """Retrieval, baselines, fact accuracy, "nobody matches", twins and slot errors over a captioned set.

    ``data`` is a folder that :func:`read_records` reads, or records. ``stages`` are measured beside coarse and the
    default; ``ladder`` measures the whole study of compositions, and each is paired with the others' base. ``chat``
    plays its part in them (shown words where it ``sees`` nothing), ``cross`` is the folder of a cross-encoder of one's
    own, ``checkpoint`` the X-VLM, X2-VLM or CMP file for the stage of that name. ``depth`` facts are judged slot by slot.
    ``dual``, an encoder of pictures and sentences, is measured beside, on the same crops.
    ``look``, ``language`` and ``evidence`` replace the packaged describer and parser. Each row's ``protocol`` says what it
    is; recalls and means of a retrieval are in percent with ``ci95`` from a bootstrap over pictures, rates of
    the other protocols 0–1; None where undefined.

    A folder of videos with described events gives the rows of :func:`run_moment_bench` instead.

    Raises:
        InputError: unknown stages, or data without a caption.
    """
    chosen = tuple(stages or DEFAULT_STAGES)
    wanted = dict.fromkeys((DEFAULT_STAGES, chosen, *(compositions.LADDER if ladder else ())))
    matcher = None
    if checkpoint is not None:
        from oddwatch.encoders.xvlm.model import open_model

        matcher = open_model(checkpoint, device=device)
    for names in wanted:
        compositions.check(names, chat, matcher)
    if isinstance(data, (str, Path)) and Path(data).is_dir() and _is_footage(data):
        models = Models(device=device, threads=threads)
        with tempfile.TemporaryDirectory() as folder:
            gallery_path = Path(folder) / "gallery"
            return run_moment_bench(
                data, packaged_index(models, gallery_path, progress), seed=seed, progress=progress
            )
    records = list(data) if not isinstance(data, (str, Path)) else read_records(data)
    # a scene's poster stands for its video; people are searched here
    records = [r for r in records if r.kind != "scene"]
    asked = [(t, r.image_id) for r in records for t in dict.fromkeys(r.captions) if t.strip()]
    if not asked:
        raise InputError(str(data) if isinstance(data, (str, Path)) else "data", "no record has a caption")
    if look is None or language is None:
        models = Models(device=device, threads=threads)
        look, language = look or packaged_looker(models), language or Described(models.sentence)
    evidence = evidence or _evidence()
    gallery = describe_all(records, look, evidence, progress)
    answers = []
    for i, (text, _) in enumerate(asked):
        answers.append(_ask(gallery, text, language, depth))
        if progress is not None:
            progress("asking", i + 1, len(asked))
    rows = _retrieval_rows(gallery, asked, answers, chosen, seed)
    made = _composed(gallery, answers, wanted, language, depth, chat, sees, cross, matcher, progress)
    for one in made:
        extra = {**one.extra, "default": one.stages == DEFAULT_STAGES}
        rows += rows_of_scores(one.scores, asked, gallery.ids, extra, seed)
    default = _matrix(answers, len(records), "facts")
    struck = [_ask(gallery, text, language, depth, DOING) for text, _ in asked]
    others = {
        "coarse": _matrix(answers, len(records), "coarse"),
        "doing words struck out": _matrix(struck, len(records), "facts"),
        "colour-histogram": histogram_matrix(records, asked, seed),
    }
    rows += _variant(others["doing words struck out"], asked, gallery.ids, seed, "doing words struck out")
    told = oracle.true_gallery(gallery, language, evidence)
    if told is not None:
        ideal = _matrix([_ask(told, text, language, depth) for text, _ in asked], len(records), "facts")
        rows += _variant(ideal, asked, gallery.ids, seed, "facts as annotated")
    if dual is not None:
        others["dual"] = dual_matrix(dual, records, asked)
        about = {"method": f"dual encoder {dual.id}", "default": False, "model_calls": 0}
        rows += rows_of_scores(others["dual"], asked, gallery.ids, about, seed)
    rows += random_rows(asked, gallery.ids, seed)
    histogram = {"method": "colour-histogram", "default": False, "model_calls": 0}
    rows += rows_of_scores(others["colour-histogram"], asked, gallery.ids, histogram, seed)
    rows += paired_rows(default, others, asked, gallery.ids, seed)
    for one in made:
        against = {"coarse": others["coarse"], "coarse + facts": default}
        rows += paired_rows(one.scores, against, asked, gallery.ids, seed, one)
    rows += facts.fact_rows(gallery, seed)
    rows += nobody.nobody_rows(gallery, language, seed, depth)
    rows += nobody.twin_rows(gallery, asked, [a.facts if a else None for a in answers], seed)
    rows += slots.slot_rows(gallery, asked, answers, language, seed)
    return rows


def dual_matrix(dual: DualEncoder, records: Sequence[Record], asked: Sequence[tuple[str, str]]) -> np.ndarray:
    """(queries, pictures) cosines of a dual encoder; of a record with a box only that part is shown to it."""
    frames = [frame(r) for r in records]
    crops = [f.crop(r.box) if r.box else f.pixels for f, r in zip(frames, records, strict=True)]
    scores: np.ndarray = dual.encode_texts([text for text, _ in asked]) @ dual.encode_images(crops).T
    return scores


def _is_footage(data: str | Path) -> bool:
    name = detect_format(data)
    return name in FOOTAGE_READERS and name not in READERS


def _evidence() -> Callable[[Facts], np.ndarray]:
    from oddwatch.describe.describer import evidence

    return evidence


def _ask(
    gallery: Gallery, text: str, language: Language, depth: int, strike: frozenset[str] = frozenset()
) -> Asked | None:
    """None for a sentence the parser refuses: it counts as a query answered last."""
    try:
        return ask(gallery, text, language, depth, strike)
    except InputError:
        return None


def _retrieval_rows(
    gallery: Gallery,
    asked: Sequence[tuple[str, str]],
    answers: Sequence[Asked | None],
    chosen: tuple[str, ...],
    seed: int,
) -> list[Row]:
    rows = []
    n = len(gallery.records)
    for stages in dict.fromkeys((BASE if chosen != ("coarse",) else chosen, ("coarse",))):
        scores = _matrix(answers, n, stages[-1])
        seconds = [a.seconds[stages[-1]] for a in answers if a is not None]
        extra = {
            "stages": list(stages),
            "default": stages == DEFAULT_STAGES,
            "seconds_per_query": float(np.mean(seconds)) if seconds else None,
            "seconds_per_picture": gallery.seconds / n,
            "refused": sum(a is None for a in answers),
            "model_calls": 0,
            "train_pairs": 0,
        }
        rows += rows_of_scores(scores, asked, gallery.ids, extra, seed)
    return rows


def _composed(
    gallery: Gallery,
    answers: Sequence[Asked | None],
    wanted: Iterable[tuple[str, ...]],
    language: Language,
    depth: int,
    chat: ChatModel | None,
    sees: bool,
    cross: str | Path | None,
    matcher: Any,
    progress: Progress | None,
) -> list[compositions.Composition]:
    """What every composition beyond coarse and facts gave."""
    from oddwatch.search.cross import CrossModel

    own = None if cross is None else CrossModel.load(cross)
    queries = [None if a is None else a.query for a in answers]
    words = getattr(language, "encoder", None)
    more = [names for names in wanted if names not in (("coarse",), BASE)]
    return compositions.compose_all(
        gallery,
        queries,
        more,
        words,
        depth=depth,
        chat=chat,
        sees=sees,
        cross=own,
        matcher=matcher,
        progress=progress,
    )


def _matrix(answers: Sequence[Asked | None], n: int, stage: str) -> np.ndarray:
    """(Q, n) scores of a stage; a refused sentence has −inf everywhere."""
    nothing = np.full(n, -np.inf)
    return np.array([nothing if a is None else a.coarse if stage == "coarse" else a.facts for a in answers])


def _variant(
    scores: np.ndarray, asked: Sequence[tuple[str, str]], ids: Sequence[str], seed: int, what: str
) -> list[Row]:
    """Rows of coarse and facts under other conditions, which their protocol names."""
    rows = rows_of_scores(scores, asked, ids, {"stages": list(BASE), "default": False}, seed)
    return [{**row, "protocol": f"text to picture, {what}"} for row in rows]


def paired_rows(
    default: np.ndarray,
    others: Mapping[str, np.ndarray],
    asked: Sequence[tuple[str, str]],
    ids: Sequence[str],
    seed: int,
    made: compositions.Composition | None = None,
) -> list[Row]:
    """Rows of protocol ``paired``: coarse and facts, or the composition ``made``, against each other score matrix (Q, N)
    on the same queries. Differences in points of R@1 and mAP with bootstrap intervals over pictures; exact McNemar on R@1."""
    rows = []
    wanted = [i for _, i in asked]
    ours = ranks_of(default, wanted, ids)
    groups = [i for i, included in zip(wanted, ours.included.tolist(), strict=True) if included]
    for name, scores in others.items() if groups else ():
        theirs = ranks_of(scores, wanted, ids)
        exact = mcnemar(ours.hits(1), theirs.hits(1))
        stages = BASE if made is None else made.stages
        row: Row = {"stages": list(stages), "default": stages == DEFAULT_STAGES, "protocol": "paired"}
        row |= {"against": name, "transductive": made is not None and made.transductive}
        row |= {"queries": "all", "n_queries": len(groups), "seed": seed, "ci95": {}}
        pairs = {
            "R@1": (ours.hits(1), theirs.hits(1)),
            "mAP": (ours.average_precision(), theirs.average_precision()),
        }
        for metric, (first, second) in pairs.items():
            found = paired_bootstrap(first, second, groups=groups, seed=seed)
            row[f"{metric} gain"], row[f"{metric} p"] = 100 * found.difference, found.p
            row["ci95"][f"{metric} gain"] = [100 * found.low, 100 * found.high]
        row |= {"only_default": exact.only_first, "only_other": exact.only_second, "mcnemar p": exact.p}
        rows.append(row)
    return rows


def rows_of_scores(
    scores: np.ndarray,
    asked: Sequence[tuple[str, str]],
    gallery_ids: Sequence[str],
    extra: Mapping[str, Any],
    seed: int,
) -> list[Row]:
    """Rows for short, long and all queries of a score matrix (Q, N); ``extra`` fields are put first."""
    lengths = np.array([length_of(text) for text, _ in asked])
    rows = []
    for name in ("short", "long", "all"):
        picked = np.flatnonzero(np.ones(len(asked), bool) if name == "all" else lengths == name)
        if picked.size:
            ids = [asked[i][1] for i in picked.tolist()]
            found = ranks_of(scores[picked], ids, gallery_ids)
            rows.append({**_shared(name, len(gallery_ids), seed), **extra, **_metrics(found, ids, seed)})
    return rows


def _shared(queries: str, gallery: int, seed: int) -> Row:
    return {
        "protocol": "text to picture",
        "queries": queries,
        "gallery": gallery,
        "seed": seed,
        "transductive": False,
    }


def _metrics(found: Ranks, ids: Sequence[str], seed: int) -> Row:
    groups = [i for i, included in zip(ids, found.included.tolist(), strict=True) if included]
    row: Row = {"n_queries": len(groups), "excluded": found.excluded, **found.summary()}
    row["ci95"] = {}
    for name, values in found.values().items():
        interval = bootstrap(values, groups=groups, seed=seed, draws=1000)
        row["ci95"][name] = [100 * interval.low, 100 * interval.high] if interval else None
    return row


def random_rows(asked: Sequence[tuple[str, str]], ids: Sequence[str], seed: int) -> list[Row]:
    """The rows ``random``: the exact expectation of a random ranking, so without interval."""
    rows = []
    for name in ("short", "long", "all"):
        wanted = [i for text, i in asked if name in ("all", length_of(text))]
        if wanted:
            expected = expected_at_random([list(ids).count(i) for i in wanted], len(ids))
            head = {"method": "random", "default": False, "model_calls": 0}
            tail = {"n_queries": len(wanted), "excluded": 0, **expected, "ci95": None}
            rows.append({**head, **_shared(name, len(ids), seed), **tail})
    return rows


def histogram_matrix(records: Sequence[Record], asked: Sequence[tuple[str, str]], seed: int) -> np.ndarray:
    """(Q, N) scores of the colour-histogram baseline; equal ones in a seeded random order, so that a sentence
    without a colour is answered by chance and the baseline is not made to look worse than it is."""
    histograms = baselines.histograms_of([(pixels(r), r.box) for r in records])
    scores = np.array([baselines.histogram_scores(text, histograms) for text, _ in asked])
    return scores + 1e-9 * np.random.default_rng(seed).random(scores.shape)
