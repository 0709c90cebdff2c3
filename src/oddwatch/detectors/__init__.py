"""Detectors by name: what is normal is learnt, everything is scored, higher = more anomalous."""

from __future__ import annotations

from oddwatch.core import Card

DETECTORS: dict[str, str] = {
    "parts-and-whole": "oddwatch.detectors.image.whole:PartsAndWhole",
    "mvg": "oddwatch.detectors.image.mvg:MVG",
    "padim": "oddwatch.detectors.image.padim:PaDiM",
    "patchcore": "oddwatch.detectors.image.patchcore:PatchCore",
    "anomalydino": "oddwatch.detectors.image.anomalydino:AnomalyDINO",
    "subspace": "oddwatch.detectors.image.subspace:SubspaceAD",
    "musc": "oddwatch.detectors.image.musc:MuSc",
    "musc-v2": "oddwatch.detectors.image.musc_v2:MuScV2",
    "univad": "oddwatch.detectors.image.univad:UniVAD",
    "dictas": "oddwatch.detectors.image.dictas:DictAS",
    "cpr": "oddwatch.detectors.image.cpr:CPR",
    "nagl": "oddwatch.detectors.image.nagl:NAGL",
    "metauas": "oddwatch.detectors.image.metauas:MetaUAS",
    "fastflow": "oddwatch.detectors.image.fastflow:FastFlow",
}
"""Name → ``"module:class"``; nothing is imported until it is loaded."""

GROUPERS: dict[str, str] = {
    "anomalyncd": "oddwatch.detectors.image.anomalyncd:AnomalyNCD",
}
"""What sorts found anomalies into kinds."""

DEFAULT = {"image": "parts-and-whole"}
"""The detector of each modality that is used where none is named."""

CARDS: dict[str, Card] = {
    "parts-and-whole": Card(
        "parts-and-whole", "detector", "image",
        "SubspaceAD for places and MVG for the whole picture, joined in deviations of held-out normals; the default",
        paper="arXiv 2602.23013 and 2005.14140, joined here",
        needs=("normals",), online=True, verified=("R", "M"),
    ),
    "mvg": Card(
        "mvg", "detector", "image",
        "One shrunk Gaussian per layer (all twelve blocks and the last norm; full, pca or npca) over the picture's mean token; whole pictures only, no map",
        paper="Rippel, Mertens, Merhof, ICPR 2020 (arXiv 2005.14140)",
        needs=("normals",), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, EfficientNet-B4": "95.8"},
    ),
    "padim": Card(
        "padim", "detector", "image",
        "One Gaussian per patch position over 100 random channels of blocks 6 to 9; for parts that always lie the same way",
        paper="Defard et al., ICPR 2020 (arXiv 2011.08785)",
        needs=("normals",), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, WRN50 (anomalib)": "95.0"},
    ),
    "patchcore": Card(
        "patchcore", "detector", "image",
        "Distance to the nearest of a coreset (10 %) of normal patches, blocks 6 and 9, means of 3 x 3",
        paper="Roth et al., CVPR 2022 (arXiv 2106.08265)",
        needs=("normals",), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, WRN50": "99.2"},
    ),
    "anomalydino": Card(
        "anomalydino", "detector", "image",
        "Cosine distance to the nearest token of few normals, turned eight ways; background mask, class-token gate, thinned bank and batched zero-shot as options",
        paper="Damm et al., WACV 2025 (arXiv 2405.14529)",
        needs=("normals",), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, 1 shot, DINOv2-S": "96.6", "all shots": "99.5"},
    ),
    "subspace": Card(
        "subspace", "detector", "image",
        "What the leading principal components of the normal tokens cannot explain; normals can be added later; batched zero-shot",
        paper="SubspaceAD, CVPR 2026 (arXiv 2602.23013)",
        needs=("normals",), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, 1 shot, DINOv2-g": "97.1", "all shots": "99.2"},
    ),
    "musc": Card(
        "musc", "detector", "image",
        "Each picture of an unlabelled batch judged by all the others, and by normals where there are some; no text; two pictures or more",
        paper="Li et al., ICLR 2024 (arXiv 2401.16753)",
        batch_dependent=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, CLIP L/14": "97.8"},
    ),
    "musc-v2": Card(
        "musc-v2", "detector", "image",
        "Mutual scoring with similarity-weighted neighbourhoods; pictures, point clouds (by hand-made geometry; a learnt encoder plugs in), or both",
        paper="arXiv 2511.10047, TPAMI 2026",
        batch_dependent=True, verified=("R",),
        claims={"I-AUROC, MVTec 3D-AD, 2D + 3D": "88.08"},
    ),
    "univad": Card(
        "univad", "detector", "image",
        "Few shots: patches against patches of the same component, components against components; masks from clustering "
        "here, from any segmenter that is handed in; several components must be named (kind=multi)",
        paper="Gu et al., CVPR 2025 (arXiv 2412.03342)",
        needs=("normals",), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, 1 shot": "97.8 (second-hand)", "MVTec LOCO, 1 shot": "71.0 (second-hand)"},
    ),
    "dictas": Card(
        "dictas", "detector", "image",
        "Normal tokens as a dictionary: what a learnt sparse lookup cannot retrieve is anomalous; short training on the normals at hand, or weights made once; text terms left out",
        paper="DictAS, ICCV 2025 (arXiv 2508.13560)",
        needs=("normals", "extra torch"), online=True, verified=("R", "M"),
        claims={"PRO, MVTec AD, 4 shots": "95.1 (second-hand)"},
    ),
    "cpr": Card(
        "cpr", "detector", "image",
        "Cascade patch retrieval: the ten most alike normal pictures, then a learnt local metric inside them; for parts that lie alike",
        paper="Li et al., TIP 2024 (arXiv 2308.06748)",
        needs=("normals", "extra torch"), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, DenseNet201": "99.7 (second-hand)"},
    ),
    "nagl": Card(
        "nagl", "detector", "image",
        "Nearest normal tokens; with marked anomalies (fit(labels=masks) or show) also learnt residual proxies, which need torch",
        paper="NAGL, NeurIPS 2025 (arXiv 2510.00495)",
        needs=("normals", "extra torch"), online=True, verified=("R",),
        claims={"I-AUROC, MVTec AD, 1 normal + 1 abnormal": "95.8 (second-hand)"},
    ),
    "metauas": Card(
        "metauas", "detector", "image",
        "Change segmentation against the most alike normal picture, plus the distance to its nearest token",
        paper="Gao, NeurIPS 2024 (arXiv 2505.09265)",
        needs=("normals", "extra torch"), online=True, verified=("R",),
        claims={"I-AUROC, MVTec AD, one prompt": "90.7"},
    ),
    "fastflow": Card(
        "fastflow", "detector", "image",
        "A two-dimensional normalising flow over the normal tokens of block 8, started from their Gaussian, ended by held-out normals",
        paper="Yu et al. 2021 (arXiv 2111.07677)",
        needs=("normals", "extra torch"), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD": "99.4"},
    ),
    "anomalyncd": Card(
        "anomalyncd", "grouper", "image",
        "Anomaly maps to stable masks (MEBin), crops, and groups of one kind of defect; method=cluster needs no torch and no labels",
        paper="Huang et al., CVPR 2025 (arXiv 2410.14379)",
        needs=("extra torch",), batch_dependent=True, verified=("R",),
        claims={"F1, MVTec AD, PatchCore maps": "76.9"},
    ),
}  # fmt: skip


def load(name: str, **options: object) -> object:
    """The detector ``name`` of :data:`DETECTORS`, built with ``options`` (its constructor's arguments).

    Raises:
        InputError: no such name.
        MissingExtra: it needs a package that is not installed.
    """
    from oddwatch.core import resolve

    return resolve(DETECTORS, name, "detector")(**options)


__all__ = ["CARDS", "DEFAULT", "DETECTORS", "GROUPERS", "load"]
