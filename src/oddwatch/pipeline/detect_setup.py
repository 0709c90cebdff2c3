"""A detector ready to judge: its encoder, fitted and calibrated on normal pictures, or read from a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import (
    Frame,
    ImageEncoder,
    InputError,
    ModelError,
    Progress,
    from_jsonable,
    require,
    resolve,
)
from oddwatch.detectors import CARDS, DEFAULT, DETECTORS
from oddwatch.detectors.image import base
from oddwatch.pipeline.calibrate import Calibration, Drawn, calibrate
from oddwatch.pipeline.remember import Remembering

FILE = "calibration.json"
KEPT = (FILE, "detector.json", "state.safetensors")
"""What lies in a folder of a kept detector."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """How to detect. ``method`` a row of the detectors, ``arguments`` those of its class; ``encoder`` "patches" (the
    packaged one), an .onnx file of the same form, a folder or Hub name of a DINOv2-class model, or an encoder; ``resolution`` of its
    input in pixels and ``layers`` where not the method's own; ``tiles`` (rows, columns) of large pictures. ``rate`` of
    normal pictures that may be told (0–1), or a ``threshold`` in the scores' unit; ``folds`` of the calibration; ``check``
    that many generated defects; ``least_area`` of a region as a share of the picture."""

    method: str = DEFAULT["image"]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    encoder: str | ImageEncoder = "patches"
    resolution: int | None = None
    layers: tuple[str, ...] | None = None
    tiles: tuple[int, int] | None = None
    rate: float = 0.01
    threshold: float | None = None
    folds: int | None = None
    check: int = 0
    least_area: float = 0.0002
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InputError("rate", f"expected a share above 0 and below 1, got {self.rate}", "like 0.01")
        if self.check < 0:
            raise InputError("check", f"expected 0 or more defects, got {self.check}")
        if self.threshold is not None and not np.isfinite(self.threshold):
            raise InputError("threshold", f"expected a finite number, got {self.threshold}")


@dataclass
class Ready:
    """A fitted detector with what is known of normal scores (None for a method that judges a batch by itself), and the
    encoder's name and tiles as they were asked for."""

    detector: base.ImageDetector
    method: str
    calibration: Calibration | None
    encoder: str | ImageEncoder
    tiles: tuple[int, int] | None
    drawn: Drawn = field(default_factory=Drawn)

    @property
    def batch_dependent(self) -> bool:
        return CARDS[self.method].batch_dependent


def eyes(encoder: str | ImageEncoder, resolution: int, options: DetectOptions) -> ImageEncoder:
    """The encoder that ``options`` ask for.

    Raises:
        InputError: an encoder that gives no picture tokens, or a resolution that does not fit.
        ModelError, MissingExtra: its weights or packages are not there.
    """
    made: ImageEncoder
    if not isinstance(encoder, str):
        made = encoder
    elif encoder == "patches" or encoder.endswith(".onnx"):
        from oddwatch.encoders.vit import PatchEncoder

        made = PatchEncoder(resolution, threads=options.threads, device=options.device, model=encoder)
    else:
        from oddwatch.encoders import ENCODERS

        if encoder in ENCODERS:
            raise InputError(
                "encoder", f"{encoder!r} needs a model or gives no tokens", "patches, a folder or a Hub name"
            )
        from oddwatch.encoders.hub import HubPatchEncoder

        made = HubPatchEncoder(encoder, options.resolution, device=options.device)
    if options.tiles is None or options.tiles == (1, 1):
        return made
    from oddwatch.encoders.tiles import TiledEncoder

    return TiledEncoder(made, options.tiles)


def build(options: DetectOptions) -> base.ImageDetector:
    """The detector that ``options`` ask for, not fitted.

    Raises:
        InputError: an unknown method, or an argument it does not have.
        MissingExtra: the method needs a package that is not installed.
    """
    kind = resolve(DETECTORS, options.method, "method")
    if "extra torch" in CARDS[options.method].needs:
        require("torch", for_=f"the method {options.method}", extra="torch")
    known = {f.name for f in fields(kind) if f.init} - {"encoder", "seed", "resolution", "layers"}
    for name in options.arguments:
        if name not in known:
            raise InputError(
                f"option {name!r}", f"not known to {options.method}", f"one of: {', '.join(sorted(known))}"
            )
    named = {n: tuple(v) if isinstance(v, list) else v for n, v in options.arguments.items()}
    resolution = options.resolution or int(kind.resolution)
    if options.layers is not None:
        named["layers"] = options.layers
    try:
        detector: base.ImageDetector = kind(
            encoder=eyes(options.encoder, resolution, options),
            resolution=resolution,
            seed=options.seed,
            **named,
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"method {options.method}", f"cannot be set up so: {error}") from error
    there = getattr(detector.eyes, "layer_names", detector.layers)
    for name in detector.layers:
        if name not in there:
            raise InputError(f"layer {name!r}", "is not one of the encoder's", f"one of: {', '.join(there)}")
    return detector


def prepare(
    normal: Sequence[Frame],
    names: Sequence[str],
    contents: Sequence[str],
    options: DetectOptions,
    progress: Progress | None,
) -> Ready:
    """Build, fit and calibrate on ``normal`` pictures, with their names and digests of their pixels. A method that judges a batch by itself is only built.

    Raises:
        InputError: no normal picture for a method that needs some.
    """
    detector = build(options)
    card = CARDS[options.method]
    if card.batch_dependent:
        return Ready(detector, options.method, None, options.encoder, options.tiles)
    if not len(normal):
        raise InputError("normal", "no normal picture is given", "point --normal at pictures of good ones")
    turned = getattr(detector, "rotations", 0) if len(normal) < getattr(detector, "few", 0) else 0
    looks, seen = len(normal) * (1 + turned), 0

    def watch(n: int) -> None:
        nonlocal seen
        seen = min(seen + n, looks)
        if progress:
            progress("learning what is normal", seen, looks)

    plain = detector.eyes
    memory = Remembering(plain, watch=watch)
    detector.encoder = memory
    calibration, drawn = calibrate(
        detector,
        normal,
        names,
        contents,
        folds=options.folds,
        trained="extra torch" in card.needs,
        check=options.check,
        seed=options.seed,
    )
    memory.forget()
    detector.encoder = plain
    return Ready(detector, options.method, calibration, options.encoder, options.tiles, drawn)


def save(ready: Ready, folder: str | Path) -> Path:
    """Write the fitted detector and its calibration to ``folder``.

    Raises:
        InputError: a method that judges a batch by itself: there is nothing to keep.
    """
    if ready.calibration is None:
        raise InputError("save", f"{ready.method} learns nothing that could be kept", "leave it out")
    folder = ready.detector.save(folder)
    about = {
        "format": FORMAT,
        "encoder": ready.encoder if isinstance(ready.encoder, str) else None,
        "tiles": list(ready.tiles) if ready.tiles else None,
        "calibration": ready.calibration.to_json(),
    }
    (folder / FILE).write_text(json.dumps(about) + "\n", encoding="utf-8")
    return folder


def load(folder: str | Path, options: DetectOptions) -> Ready:
    """The detector that :func:`save` wrote. Of ``options`` only device and threads count, and the encoder if it is named.

    Raises:
        ModelError: a file is missing, damaged or of another format.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ModelError(f"{folder}: format {about['format']!r}, this version reads {FORMAT}")
        calibration = from_jsonable(Calibration, about["calibration"])
        arguments = json.loads((folder / "detector.json").read_text(encoding="utf-8"))["arguments"]
        tiles = tuple(about["tiles"]) if about["tiles"] else None
        encoder = about["encoder"] if options.encoder == "patches" else options.encoder
        resolution = int(arguments["resolution"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: is not a detector saved by detect --save: {error}") from error
    if encoder is None:
        raise ModelError(f"{folder}: was fitted with an encoder that has no name; give the same one")
    made = eyes(
        encoder,
        resolution,
        DetectOptions(resolution=resolution, tiles=tiles, device=options.device, threads=options.threads),
    )
    detector = base.load(folder, made)
    return Ready(detector, detector.NAME, calibration, encoder, tiles)
