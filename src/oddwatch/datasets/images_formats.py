"""The layouts of public image anomaly sets, and of one's own folders.

| layout | recognised by |
|---|---|
| mad_bench | a CSV with ``Path`` (or ``image_path_raw``) and ``Severity`` |
| visa | ``split_csv/1cls.csv``, or ``CATEGORY/Data/Images/{Normal,Anomaly}`` |
| index | ``index.csv`` with ``file``, ``split`` and ``label`` or ``defect`` |
| mtd | class folders ``MT_*``, ``MT_Free`` among them |
| mvtec_ad, mvtec_loco, btad, 3cad | ``CATEGORY/{train,validation,test}/DEFECT`` and ``ground_truth/DEFECT`` |
| good_and_rest | a folder named good (normal, ok, …) beside others |
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from oddwatch.core import InputError
from oddwatch.datasets.images import ImageItem, ImageSet, Saturation, Tree

LOOKED_FOR = (
    "CATEGORY/{train,test}/DEFECT with ground_truth, split_csv/1cls.csv, CATEGORY/Data/Images/{Normal,Anomaly}, "
    "MT_* class folders, index.csv with file, split and label, a CSV with Path and Severity, or a folder named "
    "good (normal, ok) beside others; as folders or in a zip"
)
GOOD = frozenset({
    "good", "goods", "normal", "normals", "ok", "free", "mt_free", "nominal", "no_defect", "non_defective",
    "defect_free", "healthy",
})  # fmt: skip
"""Folder names and labels (in lower case) of normal pictures."""

_SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation",
           "test": "test", "testing": "test"}  # fmt: skip
_MASKS = frozenset({"ground_truth", "groundtruth", "mask", "masks", "gt", "annotations"})
_WRAPPERS = frozenset({"imgs", "images", "img", "rgb"})
_CAD3 = frozenset({
    "aluminum_camera_cover", "aluminum_ipad", "aluminum_middle_frame", "aluminum_new_ipad",
    "aluminum_new_middle_frame", "aluminum_pc", "copper_stator", "iron_stator",
})  # fmt: skip
_SHARES = {"mtd": 0.8, "visa": 0.9}
SHARE = 0.6
"""Share of the normal pictures to learn from where neither the data nor a published protocol says."""


@dataclass(frozen=True)
class _Found:
    """A labelled picture before its set is made; ``split`` is None where the data do not say."""

    root: str
    name: str
    defect: str
    label: int
    split: str | None = None
    masks: tuple[str, ...] = ()
    severity: int | None = None

    def item(self, tree: Tree, category: str, split: str) -> ImageItem:
        mask, more = (self.masks[0], self.masks[1:]) if self.label and self.masks else (None, ())
        defect = self.defect if self.label else "good"
        return ImageItem(
            self.name, str(tree.store), category, split, defect, self.label, mask, self.severity, more
        )


def read_tree(tree: Tree, seed: int = 0) -> list[ImageSet]:
    """The sets of the first layout that fits ``tree``; none where none fits."""
    readers: tuple[Callable[[Tree, int], list[ImageSet]], ...] = (
        _mad_bench, _visa, _index, _mtd, _split_folders, _good_and_rest, _index_without_split,
    )  # fmt: skip
    return next((sets for reader in readers if (sets := reader(tree, seed))), [])


def _mad_bench(tree: Tree, seed: int) -> list[ImageSet]:
    """MAD-Bench: one template a subset, pictures below ``…/SUBSET/test``, normal ones in ``…/SUBSET/train/good``.

    Levels are rounded up, as the benchmark does (its half levels merge upwards).
    """
    sets, tables = [], list(tree.tables())
    templates = [name for name in tables if "template" in name.lower()]
    for name in templates or tables:
        rows = _rows(tree, name)
        if not rows or "severity" not in rows[0] or not {"path", "image_path_raw"} & set(rows[0]):
            continue
        words = PurePosixPath(name).stem.lower().removesuffix("_template")
        found = [
            one for number, row in enumerate(rows, 2) if (one := _level(tree, row, f"{name}:{number}", words))
        ]
        category = words or tree.default
        roots = Counter(one.root for one in found)
        root = roots.most_common(1)[0][0] if roots else ""
        normal = [] if root == "" else [n for n in tree.pictures if n.startswith(f"{root}train/")]
        train = [_Found(root, n, "good", 0, "train") for n in normal if n.split("/")[-2].lower() in GOOD]
        note = f"levels of {PurePosixPath(name).name} rounded up; pictures of train/good to learn from"
        note += _absent(len(rows) - len(found))
        if found:
            sets.append(_made(tree, category, "mad_bench", train + found, note, seed))
    return sets


def _level(tree: Tree, row: dict[str, str], where: str, words: str) -> _Found | None:
    """One row of a template, or None where its picture is not there."""
    path, level = row.get("path") or row.get("image_path_raw") or "", row["severity"]
    try:
        severity = math.ceil(float(level))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{tree.store}: {where}", f"expected a severity level from 0, got {level!r}"
        ) from error
    if severity < 0:
        raise InputError(f"{tree.store}: {where}", f"expected a severity level from 0, got {level!r}")
    names = tree.find(path)
    if len(names) > 1:  # every subset has a good_level_0/000.png: the template's name tells which is meant
        flat = {n: "_".join(n.lower().split("/")[:-1]) for n in names}
        names = [n for n in names if words in flat[n]] or names
    if len(names) > 1:
        raise InputError(f"{tree.store}: {where}", f"{path!r} may be {names[0]!r} or {names[1]!r}")
    if not names:
        return None
    head, _, _ = f"/{names[0]}".rpartition("/test/")
    folder = names[0].split("/")[-2] if "/" in names[0] else "level"
    defect = folder.partition("_level_")[0]
    return _Found(
        f"{head[1:]}/" if head else "", names[0], defect, int(severity > 0), "test", severity=severity
    )


def _visa(tree: Tree, seed: int) -> list[ImageSet]:
    """VisA by its one-class table, else its raw folders, of which 90 % of the normal pictures are to learn from."""
    table = next((n for n in tree.tables() if n.lower().endswith("1cls.csv")), None)
    if table is None:
        raw = [n for n in tree.pictures if "/Data/Images/" in f"/{n}"]
        return _siblings(tree, "visa", raw, seed) if raw else []
    found, number = [], 1
    for number, row in enumerate(_rows(tree, table), 2):
        if not {"object", "split", "label", "image"} <= set(row):
            raise InputError(
                f"{tree.store}: {table}:{number}", "expected columns object, split, label, image, mask"
            )
        names, mask = tree.find(row["image"]), tree.find(row.get("mask") or "")
        if len(names) == 1:
            label = int(row["label"].lower() not in GOOD)
            found.append(
                _Found(row["object"], names[0], row["label"], label, _split(row["split"]), tuple(mask[:1]))
            )
    note = f"split of {PurePosixPath(table).name}{_absent(number - 1 - len(found))}"
    return _grouped(tree, "visa", found, note, seed)


def _index(tree: Tree, seed: int, split: bool = True) -> list[ImageSet]:
    """``index.csv``: columns file, split, label or defect, and where told category and mask."""
    name = next((n for n in tree.tables() if PurePosixPath(n).name.lower() == "index.csv"), None)
    rows = _rows(tree, name) if name is not None else []
    if not rows or "file" not in rows[0] or ("split" in rows[0]) != split:
        return []
    if not {"label", "defect", "class"} & set(rows[0]):
        return []
    found = []
    for number, row in enumerate(rows, 2):
        names = tree.find(row["file"])
        if len(names) == 1:
            found.append(_indexed(tree, row, names[0], f"{name}:{number}"))
    layout = _layout_of(found)
    note = ("split" if split else "labels") + f" of index.csv{_absent(len(rows) - len(found))}"
    return _grouped(tree, layout if split or layout == "mtd" else "good_and_rest", found, note, seed)


def _index_without_split(tree: Tree, seed: int) -> list[ImageSet]:
    return _index(tree, seed, split=False)


def _indexed(tree: Tree, row: dict[str, str], name: str, where: str) -> _Found:
    defect, told = row.get("defect") or row.get("class") or "", row.get("label", "").lower()
    if told in ("0", "1"):
        label = int(told)
    elif told or defect:
        label = int((told or defect.lower()) not in GOOD)
    else:
        raise InputError(f"{tree.store}: {where}", "expected label 0 or 1, or the name of a defect")
    masks = tuple(tree.find(row["mask"])[:1]) if row.get("mask") else ()
    root, folder = _place(name)
    root = row.get("category") or root
    split = _split(row["split"]) if "split" in row else None
    return _Found(root, name, defect or "anomaly", label, split, masks or _masks(tree, name, folder))


def _place(name: str) -> tuple[str, str]:
    """(folder above the split or defect folder, defect folder) of a picture."""
    parts = name.split("/")[:-1]
    if len(parts) > 1 and parts[-1].lower() in _WRAPPERS:
        parts = parts[:-1]
    at = next((i for i, part in enumerate(parts) if part.lower() in _SPLITS), None)
    if at is None:
        return "/".join(parts[:-1]), (parts[-1] if parts else "")
    return "/".join(parts[:at]), "/".join(parts[at + 1 : at + 2])


def _mtd(tree: Tree, seed: int) -> list[ImageSet]:
    """Magnetic tiles: ``MT_X/name.jpg`` with ``name_mask.png``, or ``MT_X/Imgs/name.jpg`` with ``name.png``."""
    classes = [n for n in tree.pictures if any(p.startswith("MT_") for p in n.split("/")[:-1])]
    if not any("mt_free" in n.lower().split("/") for n in classes):
        return []
    stems = (tree.stems[n.rpartition(".")[0]] for n in classes)
    photographs = {next((n for n in s if not n.lower().endswith(".png")), s[0]) for s in stems}
    return _siblings(tree, "mtd", sorted(photographs), seed)


def _split_folders(tree: Tree, seed: int) -> list[ImageSet]:
    """``CATEGORY/{train,validation,test}/DEFECT/name`` with ``ground_truth``: MVTec AD, LOCO, BTAD, 3CAD and alike."""
    found = []
    for name in tree.pictures:
        parts = name.split("/")
        lower = [part.lower() for part in parts[:-1]]
        at = next((i for i, part in enumerate(lower) if part in _SPLITS), None)
        if at is None or set(lower) & _MASKS or "xyz" in lower or _is_mask(tree, name):
            continue
        split, inner = _SPLITS[lower[at]], parts[at + 1 : -1]
        if not inner and split != "train":
            continue  # a test picture whose label nothing tells
        defect = inner[0] if inner else "good"
        label = int(defect.lower() not in GOOD)
        masks = _masks(tree, name, defect) if label else ()
        found.append(_Found("/".join(parts[:at]), name, defect, label, split, masks))
    if not any(not one.label or one.masks for one in found):
        return []
    return _grouped(tree, _layout_of(found), found, "split by the folders", seed)


def _layout_of(found: Iterable[_Found]) -> str:
    defects = {one.defect.lower() for one in found}
    if defects & {"logical_anomalies", "structural_anomalies"}:
        return "mvtec_loco"
    if "ko" in defects and defects <= {"ok", "ko"}:
        return "btad"
    if any(defect.startswith("mt_") for defect in defects):
        return "mtd"
    if any(one.root.rpartition("/")[2].lower() in _CAD3 for one in found):
        return "3cad"
    return "mvtec_ad"


def _good_and_rest(tree: Tree, seed: int) -> list[ImageSet]:
    return _siblings(tree, "good_and_rest", tree.pictures, seed)


def _siblings(tree: Tree, layout: str, names: Sequence[str], seed: int) -> list[ImageSet]:
    """Folders side by side, of which at least one is named as normal and one is not."""
    found: dict[str, list[_Found]] = {}
    split = [(name, name.split("/")) for name in names if not _is_mask(tree, name)]
    for root in sorted({_above(parts) for _, parts in split} - {None}, key=str):
        depth = len(root.split("/")) if root else 0
        for name, parts in split:
            inside = name.startswith(f"{root}/" if root else "") and len(parts) > depth + 1
            if inside and parts[depth].lower() not in _MASKS:
                child = parts[depth]
                label = int(child.lower() not in GOOD)
                masks = _masks(tree, name, child) if label else ()
                found.setdefault(str(root), []).append(_Found(str(root), name, child, label, None, masks))
    kept = [one for group in found.values() if {o.label for o in group} == {0, 1} for one in group]
    return _grouped(tree, layout, kept, "", seed)


def _above(parts: Sequence[str]) -> str | None:
    """The folder above the first one named as normal."""
    at = next((i for i, part in enumerate(parts[:-1]) if part.lower() in GOOD), None)
    return None if at is None else "/".join(parts[:at])


def _grouped(tree: Tree, layout: str, found: Sequence[_Found], note: str, seed: int) -> list[ImageSet]:
    """One set for each root, called by its last folder, or by the whole path where two share that."""
    roots: dict[str, list[_Found]] = {}
    for one in found:
        roots.setdefault(one.root, []).append(one)
    titles = {root: _category(root, tree) for root in roots}
    twice = {title for title, n in Counter(titles.values()).items() if n > 1}
    return [
        _made(tree, root if titles[root] in twice and root else titles[root], layout, group, note, seed, root)
        for root, group in sorted(roots.items())
    ]


def _category(root: str, tree: Tree) -> str:
    parts = [p for p in root.split("/") if p]
    while parts and parts[-1].lower() in {"data", *_WRAPPERS}:
        parts.pop()
    return parts[-1] if parts else tree.default


def _made(
    tree: Tree, category: str, layout: str, found: Sequence[_Found], note: str, seed: int, root: str = ""
) -> ImageSet:
    """The set of one category, items by name; normal pictures without a split are drawn by ``seed``."""
    found = sorted(found, key=lambda one: one.name)
    notes = [note] if note else []
    undecided = [i for i, one in enumerate(found) if one.split is None and not one.label]
    if undecided:
        share = _SHARES.get(layout, SHARE)
        count = min(max(1, round(share * len(undecided))), len(undecided))
        drawn = set(np.random.default_rng(seed).permutation(undecided)[:count].tolist())
        found = [replace(o, split="train") if i in drawn else o for i, o in enumerate(found)]
        notes.append(
            f"{count} of {len(undecided)} normal pictures by seed {seed} to learn from, the rest to test"
        )
    left_out = sum(one.split in ("train", "validation") and one.label for one in found)
    if left_out:
        notes.append(f"{left_out} anomalous pictures outside the test folder left out")

    def items(split: str) -> list[ImageItem]:
        kept = [o for o in found if (o.split or "test") == split and not (o.label and split != "test")]
        return [one.item(tree, category, "train" if split == "train" else "test") for one in kept]

    train, validation, test = items("train"), items("validation"), items("test")
    if validation and all(item.label for item in test):
        notes.append(
            "no normal pictures in the test folder: those of validation are the normal test pictures"
        )
        test, validation = sorted(test + validation, key=lambda item: item.name), []
    if not train:
        notes.append("no normal pictures to learn from")
    saturation = _saturation(tree, root) if layout == "mvtec_loco" else ()
    return ImageSet(
        tree.title,
        category,
        tuple(train),
        tuple(test),
        "; ".join(notes),
        layout,
        tuple(validation),
        saturation,
    )


def _is_mask(tree: Tree, name: str) -> bool:
    """Whether a file is a mask beside its picture, or in a folder of masks."""
    stem, _, _ = name.rpartition(".")
    beside = stem.endswith("_mask") and stem.removesuffix("_mask") in tree.stems
    return beside or any(part.lower() in _MASKS for part in name.split("/")[:-1])


def _masks(tree: Tree, name: str, defect: str) -> tuple[str, ...]:
    """The mask files of a picture in folder ``defect``; none where none is drawn."""
    folder, _, file = name.rpartition("/")
    stem = file.rpartition(".")[0]
    root, _ = _place(name)
    heads = {
        root: None,
        root.removesuffix("/Images").removesuffix("Images"): None,
        f"{root}/test".strip("/"): None,
    }
    places = [f"{folder}/" if folder else ""]
    for head in heads:
        for one in ("ground_truth", "masks", "mask", "Masks", "gt", "groundtruth"):
            base = f"{head}/{one}/" if head else f"{one}/"
            places += [f"{base}{defect}/", base]
    places += [f"{folder.removesuffix('/rgb')}/gt/"] if folder.endswith("/rgb") else []
    for place in places:
        for candidate in (f"{place}{stem}_mask", f"{place}{stem}"):
            files = [n for n in tree.stems.get(candidate, []) if n != name]
            if files:
                return (min(files, key=lambda n: (not n.lower().endswith(".png"), n)),)
        if regions := tree.folders.get(f"{place}{stem}"):
            return tuple(sorted(regions))
    return ()


def _saturation(tree: Tree, root: str) -> tuple[Saturation, ...]:
    """LOCO's ``defects_config.json`` of a category; empty where there is none."""
    text = tree.text(f"{root}/defects_config.json".lstrip("/"))
    if text is None:
        return ()
    try:
        rows = json.loads(text)
        return tuple(
            Saturation(
                str(r["defect_name"]), int(r["pixel_value"]), float(r["saturation_threshold"]),
                bool(r["relative_saturation"]),
            )
            for r in rows
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{tree.store}: defects_config.json",
            "expected a list of defect_name, pixel_value, saturation_threshold, relative_saturation",
        ) from error


def _rows(tree: Tree, name: str) -> list[dict[str, str]]:
    """The rows of a CSV file, column names in lower case."""
    text = tree.text(name) or ""
    try:
        table = csv.DictReader(io.StringIO(text))
        return [{str(k).strip().lower(): str(v or "").strip() for k, v in row.items()} for row in table]
    except csv.Error as error:
        raise InputError(f"{tree.store}: {name}", f"is not CSV: {error}") from error


def _absent(count: int) -> str:
    return f"; {count} pictures listed there are not in the data" if count else ""


def _split(text: str) -> str:
    return _SPLITS.get(text.lower(), "test")
