"""Ten drawn pictures in PAB's format, with their pose maps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from oddwatch.datasets.pab import read_pab
from oddwatch.datasets.records import Record

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "black": (20, 20, 20), "white": (240, 240, 240)}  # fmt: skip


@pytest.fixture(scope="module")
def pab_folder(tmp_path_factory) -> Path:
    """PAB's form: five videos, each with a person who stands and one who lies, in one colour, and their pose maps."""
    root = tmp_path_factory.mktemp("pab")
    rows = []
    for video, (colour, rgb) in enumerate(COLOURS.items()):
        for state, (kind, doing) in enumerate((("goal", "walks"), ("wentrong", "falls"))):
            name = f"train/imgs_0/{kind}/{video}.png"
            box = (12, 4, 22, 40) if state == 0 else (4, 26, 44, 36)
            for path, ground, fill in (
                (root / name, (120, 120, 118), rgb),
                (root / "pose" / name, (0, 0, 0), (255, 0, 85)),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = Image.new("RGB", (48, 44), ground)
                ImageDraw.Draw(picture).rectangle(box, fill=fill)
                picture.save(path)
            rows.append({
                "image": name, "caption": f"a man in a {colour} jacket {doing} on the street", "image_id": f"0_{len(rows)}",
                "source_id": f"{video}_{state}", ("anomaly" if state else "normal"): doing,
            })  # fmt: skip
    notes = root / "annotation" / "train" / "attr_0.json"
    notes.parent.mkdir(parents=True)
    notes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def records(pab_folder) -> list[Record]:
    return read_pab(pab_folder, "train", [0])
