import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest

from oddwatch.core.errors import InputError, LimitError, MediaError
from oddwatch.core.geometry import Span
from oddwatch.media.clips import clip
from oddwatch.media.limits import Limits
from oddwatch.media.sources import find, kind_of
from oddwatch.media.video import Sampling, Video

_spec = importlib.util.spec_from_file_location("media_conftest", Path(__file__).with_name("conftest.py"))
_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conftest)
number = _conftest.number

VARIABLE = [0, 0.1, 0.15, 0.5, 1.4, 1.45, 1.5, 2.0, 3.2, 3.3, 3.35, 3.9, 5.0, 5.04, 5.08]


def seen(frames):
    return [(f.index, round(f.time, 3), f.pixels.tobytes()) for f in frames]


def test_properties_and_exact_times(write_video):
    video = Video(write_video())
    assert (video.width, video.height, video.fps) == (96, 64, pytest.approx(10))
    assert video.duration == pytest.approx(5.0, abs=0.11)
    frames = list(video.frames(Sampling(fps=None)))
    assert [f.index for f in frames] == list(range(50))
    assert [f.time for f in frames] == pytest.approx([i / 10 for i in range(50)])
    assert [number(f) for f in frames] == list(range(50))
    assert not video.problems


def test_sampling_shows_what_a_player_shows(write_video):
    frames = list(Video(write_video(times=VARIABLE)).frames(Sampling(fps=2)))
    # At 1.0 the frame of 0.5 is still on screen, at 2.5 that of 2.0, at 4.0 and 4.5 that of 3.9.
    assert [f.time for f in frames] == pytest.approx([0, 0.5, 1.5, 2.0, 3.35, 3.9, 5.0])
    assert [number(f) for f in frames] == [0, 3, 6, 7, 10, 11, 12]


def test_frame_at_seeks_to_the_same_frame(write_video):
    video = Video(write_video(times=VARIABLE, gop=4))
    for i, time in enumerate(VARIABLE):
        frame = video.frame_at(time)
        assert (frame.index, number(frame)) == (i, i)
    assert video.frame_at(1.39).index == 3
    assert video.frame_at(99).index == len(VARIABLE) - 1
    with pytest.raises(InputError):
        video.frame_at(-1)


@pytest.mark.parametrize(
    "sample", [Sampling(2), Sampling(3.3), Sampling(None), Sampling(4, scene=0.02, longest=1)]
)
@pytest.mark.parametrize("times", [None, VARIABLE])
def test_a_run_from_the_middle_agrees(write_video, sample, times):
    video = Video(write_video(times=times))
    whole = seen(video.frames(sample))
    assert len(whole) > 4
    for start in (0.5, 1.0, 1.234, 2.0, 3.3, 4.9):
        assert seen(video.frames(sample, start=start)) == [f for f in whole if f[1] >= start]
    assert seen(video.frames(sample, 1.0, 3.0)) == [f for f in whole if 1 <= f[1] < 3]


def test_stream_that_does_not_start_at_zero(write_video):
    times = [7 + i / 10 for i in range(30)]
    video = Video(write_video("a.ts", times=times))
    assert [f.time for f in video.frames(Sampling(None))][:3] == pytest.approx([0, 0.1, 0.2], abs=1e-3)
    assert number(video.frame_at(1.5)) == 15


@pytest.mark.parametrize(
    "name,codec", [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.h264", "libx264")]
)
def test_containers(write_video, name, codec):
    path = write_video(name, codec=codec)
    assert kind_of(path) == "video"
    video = Video(path)
    frames = list(video.frames(Sampling(5)))
    # A raw stream has no clock: 25 frames/s are taken for granted.
    assert len(frames) == (10 if name == "a.h264" else 25) and video.problems == []
    later = list(video.frames(Sampling(5), start=1.0))
    assert later and seen(later) == [f for f in seen(frames) if f[1] >= 1.0]


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation(write_video, rotation):
    frame = Video(write_video(rotation=rotation)).frame_at(0)
    upright = np.rot90(np.arange(4).reshape(2, 2), rotation // 90)
    assert (frame.width, frame.height) == ((96, 64) if rotation == 180 else (64, 96))
    corners = frame.pixels[:: frame.height - 1, :: frame.width - 1, 0]
    # The white corner was stored at the upper left.
    assert np.array_equal(corners > 240, upright == 0)


def test_scene_change(tmp_path, write_video):
    video = Video(write_video(times=[i / 10 for i in range(100)], codec="libx264"))
    # Grey runs up steadily and falls back at frame 60: one change, the first frame, and one every 4 s.
    times = [f.time for f in video.frames(Sampling(10, scene=0.1, longest=4))]
    assert times == pytest.approx([0, 4, 6, 8])


def test_truncated_tail(write_video):
    path = write_video("a.mkv", noise=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    video = Video(path)
    frames = list(video.frames(Sampling(None)))
    assert 20 <= len(frames) < 40 and number(frames[-1]) == round(10 * frames[-1].time)
    assert any("tail" in p for p in video.problems)


def test_truncated_without_index(write_video):
    path = write_video("a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        Video(path)


def test_corrupt_middle(write_video):
    path = write_video("a.mp4", noise=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = bytes(6000)
    path.write_bytes(content)
    video = Video(path)
    frames = list(video.frames(Sampling(None)))
    assert video.problems and all("s" in p for p in video.problems)
    assert 30 <= len(frames) < 50 and frames[-1].index == 49
    assert number(frames[-1]) == 49
    again = Video(path)
    assert seen(again.frames(Sampling(None))) == seen(frames)


def test_random_damage_never_crashes(write_video):
    path = write_video("a.mp4", noise=True)
    sound, draw = path.read_bytes(), np.random.default_rng(3)
    for _ in range(12):
        content = bytearray(sound)
        for at in draw.integers(0, len(content), 40):
            content[at] = draw.integers(256)
        path.write_bytes(content)
        try:
            list(Video(path).frames())
        except (MediaError, LimitError):
            continue


def test_audio_only(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(MediaError, match="no video stream"):
        Video(path)
    skipped = []
    assert list(find([tmp_path], report=skipped.append)) == [] and "no video stream" in skipped[0].reason


def test_no_frames(tmp_path, write_video):
    path = write_video("b.mkv", noise=True)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(MediaError, match=r"b\.mkv"):
        Video(path)


@pytest.mark.parametrize("content", [b"", b"no video", b"\x1aE\xdf\xa3" + bytes(100)])
def test_no_video(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"a\.mp4"):
        Video(path)


def test_play_lists_open_nothing_else(tmp_path, write_video):
    write_video("secret.mp4")
    for name, content in {
        "a.mp4": "ffconcat version 1.0\nfile 'secret.mp4'\n",
        "b.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    }.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(MediaError):
            Video(path)


def test_limits(write_video):
    path = write_video()
    with pytest.raises(LimitError, match="pixels"):
        Video(path, limits=Limits(pixels=96 * 64 - 1))
    with pytest.raises(LimitError, match="lasts"):
        Video(path, limits=Limits(seconds=2))


@pytest.mark.parametrize("bad", [{"fps": 0}, {"fps": float("nan")}, {"scene": 2}, {"longest": 0}])
def test_bad_sampling(bad):
    with pytest.raises(InputError):
        Sampling(**bad)


@pytest.mark.parametrize("name", ["c.webm", "c.mp4"])
def test_clip(tmp_path, write_video, name):
    out = clip(write_video(times=VARIABLE), Span(1.4, 3.4), tmp_path / name)
    cut = Video(out)
    assert cut.codec == "vp9"
    assert cut.times.tolist() == pytest.approx([t - 1.4 for t in VARIABLE if 1.4 <= t < 3.4], abs=2e-3)
    assert [number(f) for f in cut.frames(Sampling(None))] == pytest.approx(list(range(4, 11)), abs=1)
    assert not [p for p in tmp_path.iterdir() if "part" in p.name]


def test_clip_outside(tmp_path, write_video):
    with pytest.raises(MediaError, match="no frame"):
        clip(write_video(), Span(50, 60), tmp_path / "c.webm")
    with pytest.raises(InputError, match="webm"):
        clip(write_video(), Span(0, 1), tmp_path / "c.avi")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]
