import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from oddwatch.core.errors import LimitError, MediaError
from oddwatch.media.limits import Limits
from oddwatch.media.pictures import is_picture, read_picture


def corner(width=40, height=20):
    """White with a red upper left quarter."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    return pixels


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "ppm", "gif", "tga", "pcx"])
def test_formats(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(corner()).save(path, **({"lossless": True} if ending == "webp" else {}))
    frame = read_picture(path)
    assert np.array_equal(frame.pixels, corner())
    assert frame.source == str(path) and frame.time is None
    assert is_picture(path)


@pytest.mark.parametrize(
    ("orientation", "shape"), [(1, (20, 40)), (3, (20, 40)), (6, (40, 20)), (8, (40, 20))]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_exif_orientation(tmp_path, orientation, shape, mode):
    stored = Image.fromarray(corner())
    if mode == "I;16":
        grey = corner()[..., 1].astype(np.uint16) * 257
        stored = Image.fromarray(grey)
    else:
        stored = stored.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    stored.save(path, exif=exif)
    pixels = read_picture(path).pixels
    assert pixels.shape[:2] == shape
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    assert np.array_equal(pixels[..., 1], np.rot90(corner()[..., 1], turns))


def test_sixteen_bits_scaled(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").pixels[0, :, 0].tolist() == [0, 128, 255]


def test_float_scaled(tmp_path):
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tiff")
    assert read_picture(tmp_path / "a.tiff").pixels[0, :, 0].tolist() == [0, 128, 255]


def test_alpha_over_white(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, 2:] = (0, 0, 255, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png").pixels
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[0, 3].tolist() == [0, 0, 255]


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_picture(tmp_path / "a.png").pixels
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[2, 2].tolist() == [10, 200, 30]


def test_cmyk(tmp_path):
    Image.fromarray(corner()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixel = read_picture(tmp_path / "a.jpg").pixels[4, 8]
    assert pixel[0] > 230 and pixel[1] < 30


def test_animation_gives_first_frame(tmp_path):
    first, second = (Image.new("RGB", (8, 8), c) for c in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert read_picture(tmp_path / "a.gif").pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated(tmp_path, ending, share):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MediaError, match=r"a\.(jpg|png)"):
        read_picture(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, no picture", b"\xff\xd8\xff", b"GIF89a", b"%!PS-Adobe-3.0 EPSF"]
)
def test_no_picture(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"a\.jpg"):
        read_picture(path)


def test_missing(tmp_path):
    with pytest.raises(MediaError, match="No such file"):
        read_picture(tmp_path / "none.jpg")


def test_bomb_is_refused_undecoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(50_000, 50_000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(LimitError, match=r"bomb\.png"):
        read_picture(path)


def test_own_limits(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(corner()).save(path)
    with pytest.raises(LimitError, match="40 × 20 pixels"):
        read_picture(path, limits=Limits(pixels=799))
    with pytest.raises(LimitError, match="bytes"):
        read_picture(path, limits=Limits(bytes=10))
    assert read_picture(path, limits=Limits(pixels=800)).width == 40
