"""The judge of `oddwatch watch`: what a camera has never seen, and what the user's own sentences call abnormal.

Each camera has a profile, from quiet footage that was given or from its own past, which goes on learning from what raised no
sign. Sentences are held against the people of every look. Feedback makes what was told by mistake normal.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from oddwatch.core import Box, Curve, Frame, InputError
from oddwatch.describe.wishes import Met, Reader, Wish
from oddwatch.detectors.video.notes import Notes, joined
from oddwatch.detectors.video.watching import Watcher
from oddwatch.media.names import printable
from oddwatch.media.video import Sampling, Video
from oddwatch.pipeline.detect_video import deciding, reason, telling
from oddwatch.pipeline.models import Models
from oddwatch.pipeline.video_setup import Eye, Ready, VideoOptions, build, prepare
from oddwatch.scoring.alarms import alarm_threshold
from oddwatch.scoring.severity import severity
from oddwatch.scoring.spans import Segment
from oddwatch.serve.events import Sign

log = logging.getLogger(__name__)
STEP = 1.0
"""Seconds of notes that are judged at a time."""
BACK = 8.0
"""Seconds of notes before them that tracks and smoothing need."""
KEPT = 200
"""Stretches that raised a sign, kept for feedback."""


@dataclass(frozen=True)
class JudgeOptions:
    """``alerts`` and ``ignore`` sentences; ``false_alarms`` a day that are borne, of each camera and sentence; ``video`` how
    to detect; ``learn`` seconds of a camera's own past that are taken to be normal where no footage was given (0: no
    profile then); ``renew`` seconds after which quiet footage is learnt in addition."""

    alerts: Sequence[str] = ()
    ignore: Sequence[str] = ()
    false_alarms: float = 1.0
    video: VideoOptions = field(default_factory=VideoOptions)
    learn: float = 600.0
    renew: float = 120.0

    def __post_init__(self) -> None:
        if not self.false_alarms > 0 or self.learn < 0 or self.renew <= 0:
            raise InputError("watch", "expected false_alarms and renew above 0, learn of 0 or more")


class LiveJudge:
    """Judges every camera by itself; see :class:`oddwatch.serve.watch.Judge`. ``folder`` takes the notes of stretches
    that raised a sign (``notes/``), and ``wrong.jsonl`` is read from it: alerts told by mistake. ``on_tracks`` is called by
    one thread at a time."""

    def __init__(
        self,
        options: JudgeOptions,
        normal: Mapping[str, Sequence[Path]] | None = None,
        *,
        models: Models | None = None,
        folder: Path | None = None,
        on_tracks: Callable[[str, Watcher, datetime], None] | None = None,
    ) -> None:
        self.options = options
        self.models = models or Models(options.video.device, options.video.threads)
        reads = {*build(options.video).READS, "people"}
        if "cls" not in reads:
            # All tokens of a day would not fit: objects keep their vectors, which cost less to get.
            reads = {"deep" if part == "tokens" else part for part in reads}
        self.eye = Eye(sorted(reads), options.video, self.models)
        self.wishes = [Wish.of(text) for text in (*options.alerts, *options.ignore)]
        self.folder, self.on_tracks = folder, on_tracks
        self._normal = dict(normal or {})
        self._cameras: dict[str, CameraJudge] = {}
        self._feedback = Feedback(folder) if folder is not None else None
        self._shared, self._handing = threading.Lock(), threading.Lock()
        self.learning = threading.Lock()
        """Held by the one camera that learns: several at once would take the looks' time."""

    def camera(self, name: str) -> CameraJudge:
        """The judge of one camera, made (and its normal footage learnt) when it is first asked for."""
        with self._shared:
            if name not in self._cameras:
                made = CameraJudge(name, self)
                footage = self._normal.get(name, self._normal.get("", ()))
                if footage:
                    made.learn([self.eye.watch(Video(path)) for path in footage], footage)
                self._cameras[name] = made
            return self._cameras[name]

    def update(self, camera: str, frame: Frame, look: bool) -> Sequence[Sign]:
        """The signs of one frame. Frames of one camera come one at a time; several cameras may be judged at once."""
        own = self.camera(camera)
        if self._feedback is not None:
            with self._shared:
                wrong = self._feedback.new(camera)
            for notes in wrong:
                own.mistaken(notes)
        return own.update(frame, look)

    def watcher(self, name: str) -> Watcher:
        """A watcher of one camera. Models are loaded by the first, the others wait for them."""
        with self._shared:
            return Watcher(name, self.eye.settings, **self.eye.parts())

    def ended(self, camera: str, watcher: Watcher, began: datetime) -> None:
        """Hand over the tracks that ended."""
        if self.on_tracks is not None and watcher.ended:
            with self._handing:
                self.on_tracks(camera, watcher, began)


class CameraJudge:
    """One camera: its watcher, its profile, the sentences held against its people."""

    def __init__(self, name: str, judge: LiveJudge) -> None:
        self.name, self.judge, self.options = name, judge, judge.options
        self.reader = Reader(judge.models.describer, judge.wishes)
        self.ready: Ready | None = None
        self.threshold, self.usual = np.inf, 0.0
        self._watcher: Watcher | None = None
        self._size: tuple[int, int] | None = None
        self._recent: deque[Notes] = deque()
        self._past: list[Notes] = []
        self._quiet: list[Notes] = []
        self._signs: list[Sign] = []
        self._met: list[Sign] = []
        self._ignored: list[Box] = []
        self._begun = self._learnt_at = -np.inf
        self._fitting: threading.Thread | None = None
        self._fitted: Ready | None = None
        self._renewing: threading.Thread | None = None
        self._failed = False

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, normal: Sequence[Notes], footage: Sequence[Path] = ()) -> None:
        """Fit the profile, settle its threshold and those of the sentences from quiet footage."""
        self._take(prepare(normal, self.options.video))
        if footage and self.options.alerts:
            self._settle_sentences(footage)

    def _take(self, ready: Ready) -> None:
        self.ready = ready
        self._limits()

    def _limits(self) -> None:
        assert self.ready is not None
        if self.ready.normal:
            self.threshold = alarm_threshold(self.ready.normal, self.options.false_alarms / 24).value
            self.usual = float(np.median(np.concatenate([c.values for c in self.ready.normal])))

    def _settle_sentences(self, footage: Sequence[Path]) -> None:
        """Raise a sentence's threshold to what people of quiet footage reach as seldom as is borne."""
        reader = Reader(self.judge.models.describer, self.judge.wishes)
        curves: list[list[Curve]] = [[] for _ in self.judge.wishes]
        for path in footage:
            times: list[float] = []
            values: list[list[float]] = [[] for _ in self.judge.wishes]
            watcher = Watcher(
                printable(path),
                replace(self.judge.eye.settings, want=("people",)),
                finder=self.judge.models.finder,
            )
            for frame in Video(path).frames(Sampling(1.0)):
                watcher.update(frame, True)
                best = [0.0] * len(values)
                for met in reader.assessed(frame, watcher.people, watcher.tracker.motion):
                    best[met.number] = max(best[met.number], met.assessment.probability)
                times.append(frame.time or 0.0)
                for number, likely in enumerate(best):
                    values[number].append(likely)
            for number, own in enumerate(values):
                if times:
                    curves[number].append(Curve(printable(path), np.array(times), np.array(own)))
        rate = self.options.false_alarms / 24
        wishes = []
        for number, wish in enumerate(self.judge.wishes):
            is_alert = number < len(self.options.alerts)
            least = (
                min(alarm_threshold(curves[number], rate).value, 0.999)
                if curves[number] and is_alert
                else wish.least
            )
            wishes.append(replace(wish, least=max(wish.least, least)))
        self.reader = replace(self.reader, wishes=wishes)

    def mistaken(self, notes: Notes) -> None:
        """Learn that what these notes show is normal."""
        if self.ready is None:
            return
        self.ready.normal.append(self.ready.detector.curve(notes))
        add = getattr(self.ready.detector, "add", None)
        if add is not None:
            with self.judge.learning:
                add([notes])
        self._limits()

    # -- judging -------------------------------------------------------------------------------------------------

    def update(self, frame: Frame, look: bool) -> list[Sign]:
        """The signs of one frame: those of the last step, and of the sentences at the last look."""
        at = frame.time or 0.0
        watcher = self._watching(frame)
        watcher.update(frame, look)
        if look:
            self._met = self._sentences(frame, watcher)
        if at - self._begun >= STEP:
            self._step(watcher.taken(), at)
            if frame.wall_time is not None:
                self.judge.ended(self.name, watcher, frame.wall_time - timedelta(seconds=at))
        return [*self._signs, *self._met]

    def _watching(self, frame: Frame) -> Watcher:
        size = (frame.height, frame.width)
        if self._watcher is None or size != self._size:  # a camera that was set to another size starts anew
            self._watcher = self.judge.watcher(self.name)
            self._size, self._begun = size, frame.time or 0.0
            self._recent.clear()
        return self._watcher

    def _sentences(self, frame: Frame, watcher: Watcher) -> list[Sign]:
        if not self.reader.wishes:
            return []
        met = self.reader.look(frame, watcher.people, watcher.tracker.motion)
        asked = len(self.options.alerts)
        self._ignored = [m.person.box for m in met if m.number >= asked]
        return [self._meant(m) for m in met if m.number < asked and not self._is_ignored(m.person.box)]

    def _meant(self, met: Met) -> Sign:
        text = self.options.alerts[met.number]
        likely = met.assessment.probability
        least = self.reader.wishes[met.number].least
        bad = float(np.clip((likely - least) / max(1 - least, 1e-6), 0, 1))
        return Sign(
            likely, met.person.box, text, f"{text}: seen {met.why}", likely, bad, f"{text}#{met.person.track}"
        )

    def _is_ignored(self, box: Box | None) -> bool:
        return box is not None and any(
            box.intersection(i) > 0.5 * min(box.area, i.area) for i in self._ignored
        )

    def _step(self, notes: Notes, at: float) -> None:
        self._begun = at
        notes = replace(notes, tokens={})
        while self._recent and notes.times.size and notes.times[0] - self._recent[0].times[0] > BACK:
            self._recent.popleft()
        self._recent.append(notes)
        self._settle(notes, at)
        if self.ready is None:
            return
        curve = self.ready.detector.curve(joined(list(self._recent)))
        now = curve.times >= at - STEP - 0.5
        top = float(curve.values[now].max(initial=0.0))
        sign = self._sign(curve, top, at) if top >= self.threshold else None
        self._signs = [sign] if sign is not None else []
        if sign is not None and self.judge.folder is not None:
            _keep(self.judge.folder, self.name, notes, at)
        elif sign is None:
            self._quiet.append(notes)

    def _sign(self, curve: Curve, top: float, at: float) -> Sign | None:
        from_ = max(at - STEP - 0.5, float(curve.times[0]))
        inside = (curve.times >= from_) & (curve.times <= at)
        peak = float(curve.times[inside][int(np.argmax(curve.values[inside]))])
        segment = Segment(from_, at + 1e-3, peak, top)
        decided = deciding(curve, segment)
        best = telling(curve, segment, decided)
        if best is not None and self._is_ignored(best.box):
            return None
        why = reason(joined(list(self._recent)), curve, segment, best, decided)
        bad = float(severity(np.array([top]), self.threshold, self.usual)[0])
        return Sign(top, best.box if best else None, decided[0] if decided else "", why, None, bad, "profile")

    def _settle(self, notes: Notes, at: float) -> None:
        """Learn from the camera's own past: first its profile, later what was quiet, in another thread."""
        if self._fitted is not None:
            self._take(self._fitted)
            self._fitted, self._fitting, self._past = None, None, []
            self._learnt_at = at
        if self.ready is None and self._fitting is None and self.options.learn > 0 and not self._failed:
            self._past.append(notes)
            if notes.times.size and notes.times[-1] - self._past[0].times[0] >= self.options.learn:
                self._fitting = threading.Thread(target=self._fit, args=(list(self._past),), daemon=True)
                self._fitting.start()
        elif self.ready is not None and self._quiet and at - self._learnt_at >= self.options.renew:
            add = getattr(self.ready.detector, "add", None)
            if add is not None and (self._renewing is None or not self._renewing.is_alive()):
                self._renewing = threading.Thread(target=self._renew, args=(add, self._quiet), daemon=True)
                self._renewing.start()
            self._quiet, self._learnt_at = [], at

    def _renew(self, add: Callable[[Sequence[Notes]], object], quiet: Sequence[Notes]) -> None:
        try:
            with self.judge.learning:
                add([joined(quiet)])
        except InputError as error:
            log.warning("%s: what was quiet is not learnt: %s", self.name, error)

    def _fit(self, past: Sequence[Notes]) -> None:
        started = time.perf_counter()
        try:
            with self.judge.learning:
                self._fitted = prepare([joined(past)], self.options.video)
            log.info("%s: learnt its own past in %.0f s", self.name, time.perf_counter() - started)
        except InputError as error:
            self._failed, self._past = True, []
            log.warning("%s: no profile from its own past: %s", self.name, error)


class Feedback:
    """Alerts told by mistake: ``wrong.jsonl`` of a watch's folder, one ``{"camera", "start", "end"}`` a line, and the notes
    of those seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._seen, self._checked = folder, 0, 0.0
        self._waiting: list[dict[str, object]] = []

    def new(self, camera: str) -> list[Notes]:
        """Notes of stretches of ``camera`` that were called wrong since the last call; looks at the file every 2 s."""
        now = time.monotonic()
        if now - self._checked >= 2.0:
            self._checked = now
            path = self.folder / "wrong.jsonl"
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            self._waiting += [json.loads(line) for line in lines[self._seen :] if line.strip()]
            self._seen = len(lines)
        own = [w for w in self._waiting if w["camera"] == camera]
        self._waiting = [w for w in self._waiting if w["camera"] != camera]
        found = []
        for wrong in own:
            for path in sorted(_folder(self.folder, camera).glob("*.npz")):
                at = float(path.stem)
                if float(str(wrong["start"])) - STEP <= at <= float(str(wrong["end"])) + STEP:
                    found.append(Notes.load(path))
        return found


def _folder(folder: Path, camera: str) -> Path:
    from oddwatch.serve.alerts import safe

    return folder / "notes" / safe(camera)


def _keep(folder: Path, camera: str, notes: Notes, at: float) -> None:
    """Keep the notes of a stretch that raised a sign, at most :data:`KEPT` a camera."""
    own = _folder(folder, camera)
    own.mkdir(parents=True, exist_ok=True)
    notes.save(own / f"{at:014.3f}.npz")
    for old in sorted(own.glob("*.npz"))[:-KEPT]:
        old.unlink(missing_ok=True)
