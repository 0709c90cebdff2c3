"""Scenes and twins to disk: ``OUT/media/*`` and ``OUT/records.jsonl``.

Every record has the PAB fields (``image``, ``caption``, ``image_id``, ``normal`` or ``anomaly``, ``scene``,
``source_id``: the video or twin pair, and 0 for normal or 1; twins also ``source_caption``, ``hard_i``, ``hard_c`` and
``hard_i_id``) and ``facts``, ``box``, ``abnormal``, ``person``, ``caption_plain`` (no action words).
A ``kind: scene`` record holds the video, its spans, events, tracks and questions; ``kind: person`` and ``twin``
records are stills.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.core import Progress
from oddwatch.core.errors import InputError
from oddwatch.datasets.scenes.captions import Family, event_caption, person_captions
from oddwatch.datasets.scenes.doings import DOINGS
from oddwatch.datasets.scenes.questions import questions
from oddwatch.datasets.scenes.scene import FPS, HEIGHT, SECONDS, WIDTH, Scene
from oddwatch.datasets.scenes.stills import twin_pair

Codec = Literal["vp9", "h264"]
Pixels = NDArray[np.uint8]
_CODECS = {"vp9": ("libvpx-vp9", "webm", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}),
           "h264": ("libx264", "mp4", {"crf": "23", "preset": "veryfast"})}  # fmt: skip
_EVERY = 5  # annotated frames of the record: every fifth, 5 a second


@dataclass(slots=True)
class _Best:
    """The best look at somebody in one doing."""

    quality: float
    time: float
    crop: Pixels
    box: list[float]
    keypoints: list[list[float]]
    facts: dict[str, Any]


@dataclass(slots=True)
class _Track:
    times: list[float] = field(default_factory=list)
    boxes: list[list[int]] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    keypoints: list[list[int]] = field(default_factory=list)
    doings: list[list[Any]] = field(default_factory=list)
    polygons: list[list[list[int]]] = field(default_factory=list)


def write_video(path: Path, frames: Iterable[Pixels], codec: Codec = "vp9", fps: int = FPS) -> int:
    """Encode RGB frames (h, w, 3) to ``path``; returns how many. H.264 uses x264, which is GPL."""
    import av

    name, _, options = _CODECS[codec]
    count = 0
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:  # no random ids, no version
        stream: Any = container.add_stream(name, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", options
        stream.codec_context.thread_count = 1  # the same bytes whatever the machine
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = count
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode())
    return count


def _jpeg(path: Path, pixels: Pixels, quality: int) -> None:
    ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:  # pragma: no cover - OpenCV always encodes 8-bit pictures
        raise InputError(str(path), "could not be encoded")
    path.write_bytes(data.tobytes())


def _crop(image: Pixels, box: list[float], margin: float = 0.35) -> tuple[Pixels, tuple[int, int]]:
    x0, y0, x1, y1 = box
    mx, my = margin * (x1 - x0) + 6, margin * (y1 - y0) + 6
    a, b = max(int(x0 - mx), 0), max(int(y0 - my), 0)
    c, d = min(int(x1 + mx) + 1, image.shape[1]), min(int(y1 + my) + 1, image.shape[0])
    return image[b:d, a:c].copy(), (a, b)


def _polygon(mask: NDArray[np.bool_]) -> list[Any]:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    return [] if not found else max(found, key=cv2.contourArea).ravel().tolist()


class _Notes:
    """Gathers tracks and best looks while the frames pass on to the encoder."""

    def __init__(self, scene: Scene, masks: bool) -> None:
        self.scene, self.masks = scene, masks
        self.tracks: dict[int, _Track] = {}
        self.best: dict[tuple[int, str], _Best] = {}
        self.poster: Pixels | None = None
        self.poster_time = min(scene.events[0].start + 1.2, SECONDS - 0.2)

    def pass_on(self, progress: Progress | None) -> Iterator[Pixels]:
        for i, (image, notes) in enumerate(self.scene.frames()):
            if self.poster is None and notes["time"] >= self.poster_time:
                self.poster = image.copy()
            if i % _EVERY == 0:
                for one in notes["people"]:
                    self._note(image, notes, one)
                if progress is not None:
                    progress(f"scene {self.scene.index}", i / FPS, SECONDS)
            yield image

    def _note(self, image: Pixels, notes: dict[str, Any], one: dict[str, Any]) -> None:
        track = self.tracks.setdefault(one["track"], _Track())
        facts = one["facts"]
        track.times.append(round(notes["time"], 2))
        track.boxes.append([round(v) for v in one["box"]])
        track.visible.append(one["visible"])
        track.keypoints.append([round(v) for point in one["keypoints"] for v in point])
        if not track.doings or track.doings[-1][0] != facts["doing"]:
            track.doings.append([facts["doing"], round(notes["time"], 2)])
        if self.masks:
            track.polygons.append([_polygon(notes["mask"](one["track"]))])
        x0, y0, x1, y1 = one["box"]
        inside = x0 > 2 and y0 > 2 and x1 < WIDTH - 2 and y1 < HEIGHT - 2
        quality = one["visible"] * min(max(x1 - x0, y1 - y0), 220.0) * (1.0 if inside else 0.6)
        key = (one["track"], facts["doing"])
        if quality > (self.best[key].quality if key in self.best else 22.0):
            crop, (dx, dy) = _crop(image, one["box"])
            box = [round(x0 - dx, 1), round(y0 - dy, 1), round(x1 - dx, 1), round(y1 - dy, 1)]
            points = [[round(x - dx, 1), round(y - dy, 1), v] for x, y, v in one["keypoints"]]
            self.best[key] = _Best(quality, notes["time"], crop, box, points, facts)


def _label(facts: dict[str, Any]) -> tuple[bool, str]:
    doing = DOINGS.get(facts["doing"])
    return (doing.abnormal if doing else False), (facts["action"] or [facts["posture"]])[0]


def _still_record(
    image: str, image_id: str, facts: dict[str, Any], captions: dict[str, list[str]], kind: str
) -> dict[str, Any]:
    abnormal, label = _label(facts)
    return {
        "kind": kind,
        "image": image,
        "image_id": image_id,
        "caption": [*captions["short"], *captions["long"]],
        "caption_plain": captions["plain"],
        "anomaly" if abnormal else "normal": label,
        "scene": facts["setting"],
        "abnormal": abnormal,
        "facts": facts,
    }


def scene_records(out: Path, seed: int, index: int, codec: Codec = "vp9", family: Family = "A", masks: bool = False,
                  progress: Progress | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """Write one scene's video, poster and person crops below ``out/media`` and return its records."""
    scene = Scene(seed, index)
    rng = np.random.default_rng([seed, index, 505])
    stem = f"scene_{index:04d}"
    media = out / "media"
    video = f"media/{stem}.{_CODECS[codec][1]}"
    notes = _Notes(scene, masks)
    write_video(out / video, notes.pass_on(progress), codec)
    poster = f"media/{stem}.jpg"
    _jpeg(out / poster, notes.poster if notes.poster is not None else scene.draw(SECONDS / 2)[0], 88)
    facts_of = {t: b.facts for (t, _), b in sorted(notes.best.items(), key=lambda item: item[1].quality)}
    told = []
    for event in scene.events:
        who = next((facts_of[t] for t in event.tracks if t in facts_of), next(iter(facts_of.values()), None))
        caption = event_caption(event.kind, who, rng, family) if who is not None else event.kind
        told.append({"kind": event.kind, "span": [round(event.start, 2), round(event.end, 2)], "tracks": event.tracks, "caption": caption,
                     "cause": event.cause, "effect": event.effect, "severity": event.severity, "facts": event.facts})  # fmt: skip
    first: dict[str, Any] = {
        "kind": "scene", "image": poster, "image_id": f"s{seed}_{stem}", "video": video, "caption": [e["caption"] for e in told], "source_id": f"s{seed}-{index:04d}_1",
        "anomaly": scene.kind, "scene": scene.place.name, "abnormal": True, "time": round(notes.poster_time, 2), "source": video,
        "duration": SECONDS, "fps": FPS, "size": [WIDTH, HEIGHT], "spans": [e["span"] for e in told], "events": told,
        "facts": {"setting": scene.place.name, "light": scene.sky.time, "weather": "dry" if scene.place.indoor else scene.sky.weather,
                  "camera": scene.camera_name, "people": len(scene.actors)},
        "boxes": [
            {"track": number, "times": t.times, "boxes": t.boxes, "visible": t.visible, "keypoints": t.keypoints, "doings": t.doings,
             **({"polygons": t.polygons} if masks else {})}
            for number, t in sorted(notes.tracks.items())
        ],
        "questions": questions(scene, told, facts_of),
    }  # fmt: skip
    rows = [first]
    for (track, doing), best in sorted(notes.best.items()):
        if doing not in DOINGS:
            continue
        name = f"{stem}_p{track:02d}_{doing}"
        _jpeg(media / f"{name}.jpg", best.crop, 90)
        row = _still_record(
            f"media/{name}.jpg",
            f"s{seed}_{name}",
            best.facts,
            person_captions(best.facts, rng, family),
            "person",
        )
        row |= {"box": best.box, "keypoints": best.keypoints, "person": f"s{seed}_{stem}_p{track:02d}", "track": track, "source": video,
                "source_id": f"s{seed}-{index:04d}_{int(row['abnormal'])}", "time": round(best.time, 2)}  # fmt: skip
        rows.append(row)
    return rows


def twin_records(out: Path, seed: int, index: int, family: Family = "A") -> list[dict[str, Any]]:
    """Write one twin pair's stills below ``out/media`` and return its two records, each the other's hard negative."""
    rows = []
    pair = twin_pair(seed, index, caption_family=family, jpeg=False)
    for still, tag in zip(pair, ("normal", "anomaly"), strict=True):
        name = f"twin_{index:05d}_{tag}"
        _jpeg(out / "media" / f"{name}.jpg", still.pixels, max(still.quality, 45))
        row = _still_record(
            f"media/{name}.jpg", f"t{seed}_{index:05d}_{tag}", still.facts, still.captions, "twin"
        )
        row |= {"box": [round(v, 1) for v in still.box], "keypoints": still.keypoints.round(1).tolist(), "person": still.person,
                "visible": still.visible, "source": "twins", "source_id": f"t{seed}-{index:05d}_{int(still.abnormal)}",
                "source_caption": still.captions["short"][0]}  # fmt: skip
        row["polygon"] = _polygon(still.mask)
        rows.append(row)
    for row, other in ((rows[0], rows[1]), (rows[1], rows[0])):
        row |= {"hard_i": other["image"], "hard_c": other["caption"][-1], "hard_i_id": other["image_id"]}
    return rows


def generate(
    out: Path | str,
    scenes: int = 4,
    twins: int = 0,
    seed: int = 7,
    codec: Codec = "vp9",
    progress: Progress | None = None,
    workers: int = 1,
    caption_family: Family = "A",
    masks: bool = False,
) -> list[dict[str, Any]]:
    """Write ``scenes`` videos of 20 s and ``twins`` pairs of stills to ``out`` and return their records.

    Everything is a function of ``seed`` and the counts; ``workers`` > 1 makes scenes in that many processes with the
    same result. ``caption_family`` B holds out templates and words of A. ``masks`` adds outlines of the people.
    Raises InputError for negative counts, an unknown codec or family.
    """
    if codec not in _CODECS:
        raise InputError("codec", f"expected vp9 or h264, got {codec!r}")
    if caption_family not in ("A", "B"):
        raise InputError("caption_family", f"expected 'A' or 'B', got {caption_family!r}")
    if scenes < 0 or twins < 0 or workers < 1:
        raise InputError(
            "scenes, twins, workers", f"expected counts ≥ 0, 0 and 1, got {scenes}, {twins}, {workers}"
        )
    out = Path(out)
    (out / "media").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    if workers > 1 and scenes > 1:
        with ProcessPoolExecutor(min(workers, scenes), mp_context=get_context("spawn")) as pool:
            jobs = [
                pool.submit(scene_records, out, seed, i, codec, caption_family, masks) for i in range(scenes)
            ]
            for i, job in enumerate(jobs):
                rows += job.result()
                if progress is not None:
                    progress("scenes", i + 1, scenes)
    else:
        for i in range(scenes):
            rows += scene_records(out, seed, i, codec, caption_family, masks, progress)
            if progress is not None:
                progress("scenes", i + 1, scenes)
    for i in range(twins):
        rows += twin_records(out, seed, i, caption_family)
        if progress is not None and (i % 10 == 9 or i == twins - 1):
            progress("twins", i + 1, twins)
    part = out / ".records.jsonl.part"
    part.write_text(
        "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows), "utf-8"
    )
    part.replace(out / "records.jsonl")
    return rows
