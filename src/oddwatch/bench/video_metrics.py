"""What curves of labelled clips are worth: by frame, by clip, by event, and by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.core import Curve, InputError, Place, Span
from oddwatch.datasets.videos import VideoItem, spans_of
from oddwatch.metrics.events import Event, detection_delay, touches
from oddwatch.metrics.frames import all_frames, equal_error_rate
from oddwatch.metrics.places import pixel_level_score
from oddwatch.metrics.ranking import auroc
from oddwatch.scoring.spans import localise

METRICS = (
    "micro_auc", "macro_auc", "macro_auc_augmented", "ap", "ap_trapezoid", "anomalous_auc", "anomalous_ap", "eer",
    "clip_auc", "event_recall", "detection_delay", "pixel_auc", "pixel_eer", "covered", "told_area",
)  # fmt: skip
MERGE = 1.0
"""Seconds of quiet that two alarms need between them to count as two."""
LEEWAY = 2.0
"""Seconds before and after an event in which an alarm is still no false one."""
_STEPS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A clip with its curve: ``times`` (N,) of all its frames, ``labels`` (N,) or None, ``size`` (height, width)."""

    item: VideoItem
    times: np.ndarray
    labels: np.ndarray | None
    curve: Curve
    size: tuple[int, int]

    @property
    def scores(self) -> np.ndarray:
        """(N,) the curve at every frame, in straight lines between its values, held at the ends.

        Raises:
            InputError: the clip gave no frame.
        """
        if not len(self.curve.times):
            raise InputError(self.item.name, "gave no frame that could be watched", "check the file")
        out: np.ndarray = np.interp(self.times, self.curve.times, self.curve.values)
        return out


def evaluate(
    judged: Sequence[Judged], false_alarms: float, moving: bool = True
) -> dict[str, float | int | None]:
    """Every metric of :data:`METRICS`, with counts; None where undefined.

    Frame metrics need labels of every frame of every clip; ``clip_auc`` compares the peaks of anomalous and of normal
    clips; events need footage (``moving``), since stills do not tell how long one lasts.
    """
    found: dict[str, float | int | None] = dict.fromkeys(METRICS)
    clips = [j.item.label if j.item.label is not None else _any(j.labels) for j in judged]
    told = [(c, j.curve.peak) for c, j in zip(clips, judged, strict=True) if c is not None]
    if len({c for c, _ in told}) == 2:
        found["clip_auc"] = auroc([c for c, _ in told], [p for _, p in told]).number
    labels = [j.labels for j in judged if j.labels is not None]
    if len(labels) < len(judged) or not judged:
        return found
    scores = [j.scores for j in judged]
    frames = all_frames(labels, scores, [j.item.name for j in judged])
    names = {"micro_auc": "micro_auroc", "macro_auc": "macro_auroc", "macro_auc_augmented": "macro_auroc_augmented",
             "ap": "micro_ap", "ap_trapezoid": "micro_aupr_trapezoid", "anomalous_auc": "anomalous_auroc",
             "anomalous_ap": "anomalous_ap", "eer": "eer"}  # fmt: skip
    found |= {name: frames[of].number for name, of in names.items()}
    found["macro_skipped"] = int(frames["macro_auroc"].details["skipped"])
    found["anomalous_frames"] = int(sum(int(y.sum()) for y in labels))
    if moving:
        found |= events(judged, false_alarms)
    threshold = frames["eer"].details.get("threshold")
    if threshold is not None:
        found |= places(judged, float(threshold))
    return found


def _any(labels: np.ndarray | None) -> int | None:
    return None if labels is None else int(labels.any())


def events(judged: Sequence[Judged], false_alarms: float) -> dict[str, float | int | None]:
    """Recall and delay of events at the threshold with the best recall of those with at most ``false_alarms`` an hour.

    An event is a run of anomalous frames; an alarm a run of scores at or above the threshold, runs at most :data:`MERGE`
    seconds apart being one. Each stretch of an alarm that lies more than :data:`LEEWAY` seconds from every event is a
    false alarm, so one that is always up is false too. 64 thresholds are tried, the quantiles of all scores: the choice
    sees the labels, so this says what a threshold can do, not what one chosen blindly does.
    """
    true = {j.item.name: spans_of(_labels(j), j.times) for j in judged}
    listed = [Event(name, span) for name, spans in true.items() for span in spans]
    hours = sum(_seconds(j.times) for j in judged) / 3600
    nothing: dict[str, float | int | None] = {
        "event_recall": None, "detection_delay": None, "events": len(listed), "false_alarms_per_hour": None,
    }  # fmt: skip
    if not listed or hours <= 0:
        return nothing
    scores = [j.scores for j in judged]
    best: tuple[float, float, float | None] = (0.0, 0.0, None)
    for threshold in np.unique(np.quantile(np.concatenate(scores), np.linspace(0, 1, _STEPS)))[::-1]:
        alarms = [
            (j.item.name, s.span)
            for j, values in zip(judged, scores, strict=True)
            for s in localise(j.times, values, float(threshold), merge=MERGE)
        ]
        false = sum(_false(span, true[name]) for name, span in alarms)
        found = [Event(name, span) for name, span in alarms]
        seen = sum(any(touches(f.span, t.span) for f in found if f.video == t.video) for t in listed)
        if false <= false_alarms * hours + 1e-9 and seen / len(listed) > best[0]:
            best = (seen / len(listed), false / hours, detection_delay(found, listed).number)
    return nothing | {
        "event_recall": best[0],
        "false_alarms_per_hour": best[1],
        "detection_delay": best[2],
    }


def _false(alarm: Span, events: Sequence[Span]) -> int:
    """How many stretches of an alarm lie further than :data:`LEEWAY` from all events (which are in order of time)."""
    at, count = alarm.start, 0
    for event in events:
        if event.start - LEEWAY >= alarm.end:
            break
        count += event.start - LEEWAY > at
        at = max(at, event.end + LEEWAY)
    return count + (at < alarm.end)


def _labels(one: Judged) -> np.ndarray:
    assert one.labels is not None
    return one.labels


def _seconds(times: np.ndarray) -> float:
    return float(times[-1] - times[0] + np.median(np.diff(times))) if len(times) > 1 else 0.0


def places(judged: Sequence[Judged], threshold: float) -> dict[str, float | int | None]:
    """How well told boxes fit drawn masks, over the clips that have masks.

    ``pixel_auc`` and ``pixel_eer``: UCSD's pixel-level criterion, where a frame is found when the boxes told for it at a
    threshold cover at least 40 % of its true pixels. ``covered``: mean share of a frame's true pixels inside the boxes with
    a score of at least ``threshold`` (that of the frames' equal error rate), frames without a box counting as 0;
    ``told_area``: mean share of the picture that these boxes take on the same frames. Only boxes of a frame's own count:
    nothing is carried on from the frame before.
    """
    nothing: dict[str, float | int | None] = dict.fromkeys(("pixel_auc", "pixel_eer", "covered", "told_area"))
    drawn = [j for j in judged if j.item.masks]
    scored = [p.score for j in drawn for p in j.curve.places if p.box is not None]
    if not scored:
        return nothing
    floor = min(scored) - 1.0
    labels, scores, covered, area = list[bool](), list[float](), list[float](), list[float]()
    for one in drawn:
        boxes = _boxes(one)
        for index, mask in enumerate(one.item.mask_frames()):
            truth = np.zeros(one.size, bool) if mask is None else mask
            if index >= len(one.times):
                break
            map_ = _map(boxes.get(index, ()), truth.shape, one.size, floor)
            labels.append(bool(truth.any()))
            scores.append(pixel_level_score(map_, truth))
            if labels[-1]:
                told = map_ >= max(threshold, floor + 1e-9)
                covered.append(float(told[truth].mean()))
                area.append(float(told.mean()))
    result, error = auroc(labels, scores), equal_error_rate([labels], [scores])
    return {
        "pixel_auc": result.number,
        "pixel_eer": error.number,
        "covered": float(np.mean(covered)) if covered else None,
        "told_area": float(np.mean(area)) if area else None,
        "masked_clips": len(drawn),
    }


def _boxes(one: Judged) -> dict[int, list[Place]]:
    """Frame of the clip → its places."""
    found: dict[int, list[Place]] = {}
    for place in one.curve.places:
        if place.box is not None:
            at = int(np.searchsorted(one.times, one.curve.times[place.index] - 1e-6))
            found.setdefault(at, []).append(place)
    return found


def _map(boxes: Sequence[Place], shape: tuple[int, ...], size: tuple[int, int], floor: float) -> np.ndarray:
    """(H, W) the highest score of the boxes over each pixel, ``floor`` outside; boxes are in pixels of ``size``."""
    out = np.full(shape, floor)
    across, down = shape[1] / size[1], shape[0] / size[0]
    for place in boxes:
        assert place.box is not None
        b = place.box
        rows = slice(max(0, int(b.y0 * down)), max(0, int(np.ceil(b.y1 * down))))
        columns = slice(max(0, int(b.x0 * across)), max(0, int(np.ceil(b.x1 * across))))
        out[rows, columns] = np.maximum(out[rows, columns], place.score)
    return out
