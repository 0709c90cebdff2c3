"""Training of video detectors: from a list of features and from labelled clips, kept and used again."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from oddwatch.core import InputError
from oddwatch.detectors.video.base import load
from oddwatch.detectors.video.notes import Notes
from oddwatch.pipeline.video_setup import Eye, VideoOptions
from oddwatch.train.video import train_video

pytest.importorskip("torch")
SMALL = VideoOptions(method="sultani", arguments={"held": 0.0})


def bags(folder: Path, count: int = 12) -> Path:
    """Feature files of ``count`` normal and as many anomalous clips, and their list."""
    rng, lines = np.random.default_rng(3), []
    for label in (0, 1):
        for i in range(count):
            rows = rng.normal(0, 0.5, (16, 6)).astype(np.float32)
            if label:
                rows[4:8, 0] += 3
            np.save(folder / f"{label}_{i}.npy", rows)
            lines.append(f"{label}_{i}.npy {label}")
    (folder / "train.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.list"


def film(path: Path) -> None:
    """The shortest of videos."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
        )
        container.mux(stream.encode())


def test_published_features_are_learnt_and_kept(tmp_path: Path) -> None:
    made = train_video("sultani", tmp_path / "out", features=bags(tmp_path), extractor="toy", options=SMALL)
    assert (made.normal, made.anomalous) == (12, 12)
    detector = load(made.folder)
    assert detector.encoder == "toy"
    odd = np.load(tmp_path / "1_0.npy")
    scores = detector.score_bags([odd])[0]
    assert scores[4:8].mean() > scores[10:].mean()


def test_clips_in_two_folders_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for kind in ("calm", "wild"):
        (tmp_path / kind).mkdir()
        for i in range(6):
            film(tmp_path / kind / f"{i}.mp4")
    monkeypatch.setattr("oddwatch.train.video.Video", lambda path: path)

    def noted(self: Eye, clip: Path, progress: object = None) -> Notes:
        wild = clip.parent.name == "wild"
        motion = rng.random((64, 3, 4, 4)).astype(np.float16) * (4 if wild else 1)
        looked = np.arange(0, 64, 8)
        return Notes(
            str(clip),
            (90, 160),
            np.arange(64) / 16,
            motion,
            looked=looked,
            cls=rng.random((8, 5)).astype(np.float16),
            encoder="eyes",
        )

    monkeypatch.setattr(Eye, "watch", noted)
    made = train_video(
        "sultani", tmp_path / "out", normal=[tmp_path / "calm"], anomalous=[tmp_path / "wild"], options=SMALL
    )
    assert (made.normal, made.anomalous) == (6, 6)
    detector = load(made.folder)
    calm, wild = (noted(None, tmp_path / k / "0.mp4") for k in ("calm", "wild"))  # type: ignore[arg-type]
    assert detector.score([wild]).values[0] > detector.score([calm]).values[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "exactly one"),
        ({"data": "a", "features": "b"}, "exactly one"),
        ({"normal": ["/nowhere"]}, "normal and anomalous"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        train_video("sultani", tmp_path, options=SMALL, **given)  # type: ignore[arg-type]


def test_a_method_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sultani"):
        train_video("camera-profile", tmp_path, data=tmp_path)
    with pytest.raises(InputError, match="published size"):
        train_video("linear", tmp_path, features=tmp_path / "list")
