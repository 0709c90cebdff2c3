"""Events of video: segment mAP at a temporal IoU, event recall at a rate of false alarms, and the delay of detection.

An event is a half-open span in seconds of one video. Found events have scores, higher = surer; true ones do not need any.
Sources: video-language §2.4 (the rule of VadCLIP's evaluator after THUMOS'14), issue-level definitions stated below.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from oddwatch.core import InputError, Jsonable, Span
from oddwatch.metrics.ranking import MetricResult, undefined

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, slots=True)
class Event(Jsonable):
    """What happened (or is said to have) in ``video`` during ``span``; ``label`` is its class, ``score`` how sure it is."""

    video: str
    span: Span
    score: float = 1.0
    label: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.score):
            raise InputError(
                f"event in {self.video}", "expected a score, got NaN", "leave out what is unknown"
            )


def touches(one: Span, other: Span) -> bool:
    """Whether two half-open spans share an instant; an empty span is the instant it starts at."""
    if one.duration == 0 or other.duration == 0:
        instant, span = (one, other) if one.duration == 0 else (other, one)
        return span.start == instant.start or span.start < instant.start < span.end
    return one.overlap(other) > 0


def _ranked(events: Sequence[Event]) -> list[Event]:
    """Best first; equal scores in an order that does not depend on the order given."""
    return sorted(events, key=lambda e: (-e.score, e.video, e.span.start, e.span.end, e.label))


def _by_video(events: Sequence[Event]) -> dict[str, list[Event]]:
    out: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        out[event.video].append(event)
    return out


# -- localisation ------------------------------------------------------------------------------------------------


def segment_ap(found: Sequence[Event], true: Sequence[Event], iou: float) -> MetricResult:
    """Average precision of one class at a temporal IoU of at least ``iou``: Σ precision at each hit / number of true events.

    Found events of all videos are taken best first. Each claims, of the true events of its video that nobody has claimed
    yet, the one it overlaps most, if by ``iou`` or more; else it is false (so a second find of one event is). Undefined
    without a true event.
    """
    if not 0 < iou <= 1:
        raise InputError("iou", f"expected more than 0 and at most 1, got {iou}")
    if not true:
        return undefined("segment_ap", "no true event", found=len(found))
    free = _by_video(true)
    hits, total = 0, 0.0
    for rank, event in enumerate(_ranked(found), start=1):
        rest = free.get(event.video, [])
        overlaps = [event.span.iou(t.span) for t in rest]
        if overlaps and max(overlaps) >= iou:
            del rest[int(np.argmax(overlaps))]
            hits += 1
            total += hits / rank
    details = {"true": len(true), "found": len(found), "hits": hits, "iou": iou}
    return MetricResult("segment_ap", total / len(true), details)


def segment_map(found: Sequence[Event], true: Sequence[Event], ious: Sequence[float] = IOUS) -> MetricResult:
    """Mean over ``ious`` of the mean over classes of :func:`segment_ap`.

    Classes are the labels of the true events; a class without one does not count (VadCLIP's released evaluator also
    averages over the class "normal", which has none, and so prints 13 / 14 of it for UCF-Crime), nor do found events of
    such a class. Give all events one label to measure localisation alone. ``details``: ``per_iou``, ``per_class``.
    """
    classes = sorted({t.label for t in true})
    if not classes:
        return undefined("segment_map", "no true event", found=len(found))
    if not len(ious):
        raise InputError("ious", "expected at least one")
    table = {
        label: [
            segment_ap([f for f in found if f.label == label], [t for t in true if t.label == label], i).value
            for i in ious
        ]
        for label in classes
    }
    values = np.array(list(table.values()))
    details = {
        "per_iou": dict(zip(map(float, ious), values.mean(axis=0).tolist(), strict=True)),
        "per_class": {label: float(np.mean(row)) for label, row in table.items()},
        "true": len(true),
        "found": len(found),
    }
    return MetricResult("segment_map", float(values.mean()), details)


# -- alarms ------------------------------------------------------------------------------------------------------


def event_recall(
    found: Sequence[Event],
    true: Sequence[Event],
    *,
    hours: float,
    false_alarms_per_hour: float,
    normal: Sequence[Event] | None = None,
    normal_hours: float | None = None,
    tolerance: float = 0.0,
) -> MetricResult:
    """The share of true events that an alarm touches, at the lowest threshold with at most ``false_alarms_per_hour``.

    An alarm is a found event with a score ≥ the threshold. It is false when it touches no true event of its video, each
    widened by ``tolerance`` seconds to both sides; several alarms on one event are no false ones. Classes are not looked
    at.

    The threshold comes from ``normal``, alarms on ``normal_hours`` of other footage on which nothing happens, where they
    are given (``threshold_from: "normal"``). Else from the false alarms among ``found`` on the ``hours`` judged: the
    best that any threshold can do there (``"oracle"``). ``details`` also say how many false alarms per hour the judged
    footage then has, and per true event whether it was found.
    """
    _positive("hours", hours)
    if not (math.isfinite(false_alarms_per_hour) and false_alarms_per_hour >= 0):
        raise InputError("false_alarms_per_hour", f"expected 0 or more, got {false_alarms_per_hour}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError("tolerance", f"expected 0 s or more, got {tolerance}")
    if (normal is None) != (normal_hours is None):
        raise InputError("normal", "expected normal alarms together with their normal_hours")
    if not true:
        return undefined("event_recall", "no true event", found=len(found))
    wide = [replace(t, span=Span(t.span.start - tolerance, t.span.end + tolerance)) for t in true]
    near = _by_video(wide)
    false = [f for f in found if not any(touches(f.span, t.span) for t in near.get(f.video, []))]
    if normal is None or normal_hours is None:
        threshold, origin = _threshold([f.score for f in false], false_alarms_per_hour * hours), "oracle"
    else:
        _positive("normal_hours", normal_hours)
        allowed = false_alarms_per_hour * normal_hours
        threshold, origin = _threshold([f.score for f in normal], allowed), "normal"
    alarms = _by_video([f for f in found if f.score >= threshold])
    seen = [any(touches(a.span, t.span) for a in alarms.get(t.video, [])) for t in wide]
    details = {
        "threshold": threshold,
        "threshold_from": origin,
        "false_alarms_per_hour": sum(f.score >= threshold for f in false) / hours,
        "true": len(true),
        "per_event": seen,
    }
    return MetricResult("event_recall", sum(seen) / len(seen), details)


def _threshold(false: Sequence[float], allowed: float) -> float:
    """The lowest score that at most ``allowed`` of the ``false`` alarms reach; −∞ where all of them may."""
    ordered = sorted(false, reverse=True)
    spare = math.floor(allowed + 1e-9)
    return -math.inf if spare >= len(ordered) else float(np.nextafter(ordered[spare], np.inf))


def detection_delay(
    found: Sequence[Event], true: Sequence[Event], threshold: float = -math.inf
) -> MetricResult:
    """Mean seconds from the start of a true event to the first alarm inside it, of those events that have one.

    Alarms are found events with a score ≥ ``threshold``. One that is already up when the event starts gives 0 s: it is for
    :func:`event_recall` to count alarms that are always up. An alarm raised later than its span starts (after a minimum
    duration) has to be given with the start at which it was raised. Lower is better; read it beside ``recall``, since an
    event that is missed has no delay. ``details``: ``median``, ``recall``, ``missed``, ``per_event`` (None where missed).
    """
    alarms = _by_video([f for f in found if f.score >= threshold])
    delays: list[float | None] = []
    for event in true:
        starts = [a.span.start for a in alarms.get(event.video, []) if touches(a.span, event.span)]
        delays.append(max(0.0, min(starts) - event.span.start) if starts else None)
    known = [d for d in delays if d is not None]
    details = {"missed": len(delays) - len(known), "per_event": delays, "threshold": threshold}
    if not known:
        reason = "no true event" if not delays else f"none of {len(delays)} events has an alarm inside"
        return undefined("detection_delay", reason, **details)
    details |= {"median": float(np.median(known)), "recall": len(known) / len(delays)}
    return MetricResult("detection_delay", float(np.mean(known)), details)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(name, f"expected more than 0, got {value}")
