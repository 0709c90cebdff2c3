"""Video detectors that learn from clips labelled as a whole: from one's own clips, a data set, or published features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oddwatch.core import InputError, Jsonable, MediaError, Progress
from oddwatch.datasets.videos import clip_of, read_video_sets
from oddwatch.detectors import CARDS, DETECTORS
from oddwatch.detectors.video.notes import Notes
from oddwatch.media.sources import find
from oddwatch.media.video import Video
from oddwatch.pipeline.video_setup import Eye, VideoOptions, build


@dataclass(frozen=True, slots=True)
class TrainedVideo(Jsonable):
    """The ``folder`` of a fitted detector, and of how many clips it learnt."""

    folder: str
    method: str
    normal: int
    anomalous: int


def train_video(
    method: str,
    out: str | Path,
    *,
    data: str | Path | None = None,
    normal: Sequence[str | Path] = (),
    anomalous: Sequence[str | Path] = (),
    features: str | Path | None = None,
    folder: str | Path | None = None,
    extractor: str = "",
    official: bool = False,
    options: VideoOptions | None = None,
    progress: Progress | None = None,
) -> TrainedVideo:
    """Fit ``method`` to labelled clips and keep it in ``out``, for ``detect --detector``.

    One source of clips is given: ``normal`` and ``anomalous`` videos (files, folders, globs), a data set ``data`` whose train
    part has labels, or a list of published ``features`` (lines of PATH LABEL, below ``folder``) of an ``extractor``.
    ``official`` takes the paper's sizes and steps.

    Raises:
        InputError: a method that learns from no labels, none or several sources, clips of one kind only.
        MediaError: nothing that can be read. MissingExtra: torch is not installed.
    """
    options = options or VideoOptions(method=method)
    kind = _kind(method)
    if sum(bool(g) for g in (data, normal or anomalous, features)) != 1:
        raise InputError("clips", "expected exactly one of data, normal with anomalous, features")
    detector = build(options)
    if (official and not hasattr(kind, "PAPER")) or (features is not None and not hasattr(kind, "fit_bags")):
        raise InputError(
            f"method {method}",
            "has no published size and learns from one's own clips",
            "give --normal and --anomalous",
        )
    if official:
        detector = kind(**{**kind.PAPER, **options.arguments, "seed": options.seed})
    if features is not None:
        from oddwatch.detectors.video.bags_file import read_list

        bags = read_list(features, folder)
        detector.fit_bags(bags.features, bags.labels, encoder=extractor, progress=progress)  # type: ignore[attr-defined]
        labels: list[int] = list(bags.labels)
    else:
        eye = Eye(detector.READS, options)
        notes, labels = (
            _of_set(data, eye, progress) if data is not None else _of_files(normal, anomalous, eye, progress)
        )
        detector.fit(notes, labels)
    detector.save(out)
    return TrainedVideo(str(out), method, labels.count(0), labels.count(1))


def _kind(method: str) -> Any:
    from oddwatch.core import resolve

    known = [
        n
        for n, card in CARDS.items()
        if card.modality == "video" and "labels" in card.needs and n in DETECTORS
    ]
    if method not in known:
        raise InputError(
            f"method {method!r}", "does not learn from labelled clips", f"one of: {', '.join(sorted(known))}"
        )
    return resolve(DETECTORS, method, "method")


def _of_files(
    normal: Sequence[str | Path], anomalous: Sequence[str | Path], eye: Eye, progress: Progress | None
) -> tuple[list[Notes], list[int]]:
    notes, labels = list[Notes](), list[int]()
    for label, given in ((0, normal), (1, anomalous)):
        for source in find(list(given)):
            if source.kind == "video":
                notes.append(eye.watch(Video(source.path), progress))
                labels.append(label)
    if len(set(labels)) < 2:
        raise InputError("clips", "expected normal and anomalous videos", "give --normal and --anomalous")
    return notes, labels


def _of_set(data: str | Path, eye: Eye, progress: Progress | None) -> tuple[list[Notes], list[int]]:
    items = [i for one in read_video_sets(data) for i in one.train if i.label is not None and i.files]
    if not items:
        raise MediaError(
            str(data), "has no labelled clips to learn from", "see `oddwatch methods --task video`"
        )
    return [eye.watch(clip_of(i), progress) for i in items], [int(i.label or 0) for i in items]
