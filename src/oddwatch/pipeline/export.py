"""A fitted detector as one ONNX file that any ONNX Runtime runs without this package, checked against the detector.

The graph goes from pixels at the encoder's resolution to the picture's score and map. The threshold is not inside: it lies
beside the file, with the scores of the normal pictures it comes from, so that it can be moved. After writing, the file is
run on pictures beside the detector; where they differ, it is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch._version import __version__
from oddwatch.core import (
    Frame,
    ImageEncoder,
    InputError,
    Jsonable,
    ModelError,
    Progress,
    require,
    to_jsonable,
)
from oddwatch.detectors import CARDS
from oddwatch.encoders import weights
from oddwatch.media.names import printable
from oddwatch.pipeline.detect_files import Paths, PictureFiles, find_pictures, readable
from oddwatch.pipeline.detect_setup import DetectOptions, Ready, load, prepare

FORMAT = 1
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
TOLERANCE = 1e-3
CHECKED, DEFECTS = 8, 4
"""So many pictures are compared, and so many of them once more with a defect drawn on."""
BATCH = 3
ENCODERS = "fit with the packaged encoder or an .onnx file of its form, without tiles"


@dataclass(frozen=True, slots=True)
class Parity(Jsonable):
    """How far the file is from the detector on ``pictures`` pictures: the largest difference of scores and of map values,
    each divided by the largest value of the detector; ``flips`` counts pictures told by only one of them at rate 0.01."""

    pictures: int
    scores: float
    maps: float | None
    flips: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether both differences are within the tolerance; a difference that is no number never is."""
        return self.scores <= self.tolerance and (self.maps is None or self.maps <= self.tolerance)

    def in_words(self) -> str:
        """One line for people."""
        also = "" if self.maps is None else f", of maps {self.maps:.2g}"
        return (
            f"{self.pictures} pictures: largest relative difference of scores {self.scores:.2g}{also} (tolerance "
            f"{self.tolerance:g}), {self.flips} of {self.pictures} told differently"
        )


@dataclass(slots=True)
class ExportReport(Jsonable):
    """What was written: the ONNX ``model`` and the ``about`` file beside it."""

    model: str
    about: str
    method: str
    encoder: str
    bytes: int
    parity: Parity
    thresholds: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def export(
    out: str | Path,
    normal: Paths | None = None,
    *,
    options: DetectOptions | None = None,
    detector: str | Path | None = None,
    method: str | None = None,
    pictures: Paths | None = None,
    int8: bool = False,
    tolerance: float = TOLERANCE,
    keep: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Fit to ``normal`` pictures, or read the ``detector`` folder that detect saved; write ``out`` and ``out``'s name with
    .json; compare both on ``pictures`` (by default the normal ones), also with defects drawn on them. ``method`` is the one that
    the ``detector`` must be of, None: any. ``int8`` keeps the encoder's 8-bit products, quicker, but they need a session
    option on x86 processors without VNNI; without it the file gives equal scores on every machine.

    Raises:
        InputError: a method, option or encoder that has no such form; no normal picture; nothing to compare on.
        ModelError: the file differs from the detector by more than ``tolerance``; it is then removed, unless ``keep``.
        MissingExtra: the onnx package is not installed.
    """
    require("onnx", for_="export", extra="export")
    options, out = options or DetectOptions(), _target(out)
    if (normal is None) == (detector is None):
        raise InputError(
            "normal, detector",
            "expected one of them",
            "--normal DIR to fit to, or --detector DIR saved by detect",
        )
    _exportable(options)
    skipped: list[tuple[str, str]] = []
    learnt, contents = _files(normal, skipped, progress, "looking through the normal pictures")
    checked, _ = _files(pictures, skipped, progress, "looking through the pictures")
    shown = PictureFiles(checked or learnt)
    if not len(shown):
        hint = "--pictures DIR" if detector is not None else "point --normal at pictures of good ones"
        raise InputError("pictures", "there is none to compare the file with the detector on", hint)
    if detector is not None:
        ready = load(detector, options)
        _exportable(DetectOptions(ready.method, tiles=ready.tiles))
        if method not in (None, ready.method):
            raise InputError(f"method {method}", f"{detector} holds a {ready.method}", "name that, or none")
    else:
        ready = prepare(PictureFiles(learnt), [printable(p) for p in learnt], contents, options, progress)
    model = graph_of(ready, int8)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(model.SerializeToString())
    try:
        parity = compare(ready, out, _samples(shown, options.seed), tolerance, int8)
    except BaseException:
        out.unlink()
        raise
    if not parity.passed and not keep:
        out.unlink()
        raise ModelError(f"{out}: differs from the detector and was removed; {parity.in_words()}")
    about = out.with_suffix(".json")
    report = ExportReport(
        printable(out),
        printable(about),
        ready.method,
        ready.detector.eyes.id,
        out.stat().st_size,
        parity,
        skipped=skipped,
    )
    report.thresholds = _thresholds(ready)
    about.write_text(json.dumps(_about(ready, report, out, int8), indent=1) + "\n", encoding="utf-8")
    if not parity.passed:
        raise ModelError(f"{out}: differs from the detector; it was kept as asked; {parity.in_words()}")
    return report


def graph_of(ready: Ready, int8: bool = False) -> Any:
    """The ``onnx.ModelProto`` of a fitted detector: ``pixels`` (N, side, side, 3) uint8 to ``score`` (N,) and ``map``
    (N, side, side) float32.

    Raises:
        InputError: a method, option or encoder that has no such form.
        LimitError: it would be larger than an ONNX file can be.
    """
    from oddwatch.detectors.image.onnx_graph import Graph, composed
    from oddwatch.detectors.image.onnx_heads import head, layers_read
    from oddwatch.encoders.shorten import shortened
    from oddwatch.encoders.vit import PATCH, positions

    detector, eyes = ready.detector, _own(ready)
    rows = eyes.resolution // PATCH
    graph = Graph((rows, rows))
    score, full = head(detector, graph)
    file = weights.path(str(ready.encoder))
    whole = graph.onnx.load(str(file)).SerializeToString()
    side = eyes.resolution
    outputs: dict[str, tuple[str, tuple[Any, ...]]] = {"score": (score, ("N",))}
    if full is not None:
        outputs["map"] = (full, ("N", side, side))
    cut = shortened(whole, layers_read(detector))
    return composed(cut, graph, {"positions": positions(rows)}, side, outputs, exact=not int8)


def compare(
    ready: Ready,
    model: Path,
    pictures: Sequence[np.ndarray],
    tolerance: float = TOLERANCE,
    int8: bool = False,
) -> Parity:
    """Run the file, as anybody would (``int8``: with the session option it then needs), and the detector on the same
    ``pictures`` ((H, W, 3) uint8)."""
    import onnxruntime

    from oddwatch.encoders.session import session
    from oddwatch.encoders.vit import fit_square

    eyes = _own(ready)
    if int8:
        run = session(model)
    else:
        run = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [o.name for o in run.get_outputs()]
    theirs = ready.detector.score([Frame(p) for p in pictures])
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, len(pictures), BATCH):
        part = [fit_square(p, eyes.resolution, eyes.fit)[0] for p in pictures[start : start + BATCH]]
        for name, value in zip(names, run.run(names, {"pixels": np.stack(part)}), strict=True):
            found[name].append(value)
    ours = {name: np.concatenate(values) for name, values in found.items()}
    flips = 0
    if ready.calibration is not None:
        mark = ready.calibration.threshold(0.01).value
        flips = int(((ours["score"] >= mark) != (theirs.values >= mark)).sum())
    off = _difference(ours["score"], theirs.values)
    map_off = None if theirs.maps is None else _difference(ours["map"], theirs.maps)
    return Parity(len(pictures), off, map_off, flips, tolerance)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference as a share of the largest value; infinity where something is not finite."""
    if not np.isfinite(ours).all():
        return float("inf")
    largest = float(np.abs(theirs).max(initial=0))
    off = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0))
    return off / largest if largest > 0 else off


def _samples(shown: Sequence[Frame], seed: int) -> list[np.ndarray]:
    """Evenly spread pictures, and defects drawn on some of them, so that both sides of a threshold are compared."""
    from oddwatch.datasets.defects import training_pairs

    which = np.unique(np.linspace(0, len(shown) - 1, CHECKED).round().astype(int))
    plain = [shown[int(i)].pixels for i in which]
    rng = np.random.default_rng(seed)
    return plain + [d.pixels for d in training_pairs(rng, plain, DEFECTS, share=1.0)]


def _target(out: str | Path) -> Path:
    out = Path(out)
    if out.suffix.lower() != ".onnx":
        raise InputError("out", f"expected a file name that ends in .onnx, got {out}")
    return out


def _exportable(options: DetectOptions) -> None:
    from oddwatch.detectors.image.onnx_heads import HEADS

    if options.method in CARDS and options.method not in HEADS:
        raise InputError(
            f"method {options.method}", "cannot be exported to ONNX", f"one of: {', '.join(sorted(HEADS))}"
        )
    if (
        isinstance(options.encoder, str)
        and options.encoder != "patches"
        and not options.encoder.endswith(".onnx")
    ):
        raise InputError(
            f"encoder {options.encoder}", "is no ONNX graph that could be joined to a detector", ENCODERS
        )
    if options.tiles not in (None, (1, 1)):
        raise InputError("tiles", "cannot be part of an ONNX graph", "fit and export without tiles")


def _own(ready: Ready) -> Any:
    """The packaged encoder or one of the same form.

    Raises:
        InputError: another encoder, or tiles.
    """
    from oddwatch.encoders.vit import PatchEncoder

    eyes: ImageEncoder = ready.detector.eyes
    if not isinstance(eyes, PatchEncoder) or not isinstance(ready.encoder, str):
        raise InputError(
            "encoder", f"{eyes.id} is no ONNX graph that could be joined to a detector", ENCODERS
        )
    return eyes


def _files(
    given: Paths | None, skipped: list[tuple[str, str]], progress: Progress | None, what: str
) -> tuple[list[Path], list[str]]:
    if given is None:
        return [], []
    found = find_pictures([], given)
    skipped += found.skipped

    def step(done: int) -> None:
        if progress:
            progress(what, done, len(found.normal))

    return readable(found.normal, skipped, step)


def _thresholds(ready: Ready) -> list[dict[str, Any]]:
    """A row a false-alarm rate: the score from which on a picture is told, how it came about, the same for map values."""
    if ready.calibration is None:
        return []
    rows = []
    for rate in RATES:
        found, scale = ready.calibration.threshold(rate), ready.calibration.scale(rate)
        row = {"rate": rate, "score": found.value, "rule": found.rule, "note": found.note}
        rows.append(row | ({} if scale is None else {"map": scale.threshold}))
    return rows


def _about(ready: Ready, report: ExportReport, out: Path, int8: bool) -> dict[str, Any]:
    """What lies beside the file: everything a program in another language needs to use it."""
    eyes = _own(ready)
    side, pad = eyes.resolution, eyes.fit == "pad"
    calibration = ready.calibration
    steps = [
        "8-bit RGB, upright (EXIF orientation applied), channels last",
        f"keep the aspect, the longer side {side}, then black on both sides up to the square (half of it, rounded down, left or on top)"
        if pad
        else f"stretch to {side} x {side}, the aspect is not kept",
        "each axis that shrinks by area averaging (OpenCV INTER_AREA), then each that grows bicubically (INTER_CUBIC)",
        "no scaling or normalisation: that is inside the graph",
    ]
    about = {
        "format": FORMAT,
        "method": ready.method,
        "arguments": ready.detector.arguments(),
        "encoder": eyes.id,
        "oddwatch": __version__,
        "model": printable(out.name),
        "sha256": weights.digest(out),
        "input": {"name": "pixels", "shape": ["N", side, side, 3], "type": "uint8"},
        "preprocessing": {"fit": eyes.fit, "side": side, "steps": steps},
        "outputs": {
            "score": "(N,) float32, higher is more anomalous, compare with a threshold below: told from it on",
            **({} if report.parity.maps is None else {"map": f"(N, {side}, {side}) float32 over the input"}),
        },
        "thresholds": report.thresholds,
        "normal_scores": None if calibration is None else sorted(calibration.scores.tolist()),
        "calibration": None if calibration is None else {"how": calibration.how, "notes": calibration.notes},
        "products": "int8" if int8 else "float",
        "session_options": {"session.x64quantprecision": "1"} if int8 else {},
        "parity": report.parity,
    }
    plain: dict[str, Any] = to_jsonable(about)
    return plain
