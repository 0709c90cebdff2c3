from fractions import Fraction

import av
import numpy as np
import pytest

CLOCK = Fraction(1, 1000)


def numbered(i, width=96, height=64):
    """A frame that tells its number: the grey of its left half, over a white corner at the upper left."""
    pixels = np.full((height, width, 3), 40 + (i * 3) % 180, np.uint8)
    pixels[:, width // 2 :] = 20
    pixels[: height // 4, : width // 4] = 255
    return pixels


def number(frame):
    """The number that :func:`numbered` drew (modulo 60)."""
    h, w = frame.pixels.shape[:2]
    return round((float(frame.pixels[h // 2 : h - 4, 4 : w // 2 - 8].mean()) - 40) / 3)


@pytest.fixture
def write_video(tmp_path):
    def write(name="a.mp4", times=None, rotation=None, codec="libx264", gop=10, noise=False, size=(96, 64)):
        path = tmp_path / name
        times = [i / 10 for i in range(50)] if times is None else times
        draw = np.random.default_rng(0)
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = CLOCK
            stream.gop_size = gop
            if codec == "libx264":
                stream.options = {"preset": "ultrafast", "crf": "10", "bf": "2", "b-adapt": "0"}
            if rotation is not None:
                stream.set_display_rotation(rotation)
            for i, time in enumerate(times):
                pixels = numbered(i % 60, *size)
                if noise:
                    pixels[:, size[0] // 2 :] = draw.integers(0, 255, (size[1], size[0] // 2, 3))
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = round(time * 1000), CLOCK
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        return path

    return write
