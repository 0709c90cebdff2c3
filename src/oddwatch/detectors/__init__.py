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
    "camera-profile": "oddwatch.detectors.video.profile:CameraProfile",
    "agitation": "oddwatch.detectors.video.agitation:Agitation",
    "ai-vad": "oddwatch.detectors.video.aivad:AIVAD",
    "stg-nf": "oddwatch.detectors.video.stgnf:STGNF",
    "linear": "oddwatch.detectors.video.linear:Linear",
    "mulde": "oddwatch.detectors.video.mulde:MULDE",
    "ffp": "oddwatch.detectors.video.predict:FramePrediction",
    "sultani": "oddwatch.detectors.video.sultani:Sultani",
    "rtfm": "oddwatch.detectors.video.rtfm:RTFM",
    "ur-dmu": "oddwatch.detectors.video.urdmu:URDMU",
    "lavad": "oddwatch.detectors.video.lavad:LAVAD",
    "anomalyruler": "oddwatch.detectors.video.anomalyruler:AnomalyRuler",
    "vera": "oddwatch.detectors.video.vera:VERA",
    "trlc": "oddwatch.detectors.video.trlc:TRLC",
}
"""Name → ``"module:class"``; nothing is imported until it is loaded."""

GROUPERS: dict[str, str] = {
    "anomalyncd": "oddwatch.detectors.image.anomalyncd:AnomalyNCD",
}
"""What sorts found anomalies into kinds."""

DEFAULT = {"image": "parts-and-whole", "video": "camera-profile"}
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
        needs=("normals", "extra torch"), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, 1 normal + 1 abnormal": "95.8 (second-hand)"},
    ),
    "metauas": Card(
        "metauas", "detector", "image",
        "Change segmentation against the most alike normal picture, plus the distance to its nearest token",
        paper="Gao, NeurIPS 2024 (arXiv 2505.09265)",
        needs=("normals", "extra torch"), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD, one prompt": "90.7"},
    ),
    "fastflow": Card(
        "fastflow", "detector", "image",
        "A two-dimensional normalising flow over the normal tokens of block 8, started from their Gaussian, ended by held-out normals",
        paper="Yu et al. 2021 (arXiv 2111.07677)",
        needs=("normals", "extra torch"), online=True, verified=("R", "M"),
        claims={"I-AUROC, MVTec AD": "99.4"},
    ),
    "camera-profile": Card(
        "camera-profile", "detector", "video",
        "What one camera has never seen: how things move, where, how abruptly, what shape and pose they have, what they look "
        "like and what stays, each as decades of false alarms; the default",
        paper="ours; attribute-wise neighbours after arXiv 2212.00789",
        needs=("normals",), online=True, verified=("R", "M"),
    ),
    "agitation": Card(
        "agitation", "detector", "video",
        "Movement that keeps changing, beside the strongest change in the picture: scuffles and flight, nothing is learnt",
        paper="ours",
        online=True, verified=("R", "M"),
    ),
    "ai-vad": Card(
        "ai-vad", "detector", "video",
        "Each object's speed (Gaussian mixture), pose and look (nearest neighbours), scaled by held-out normals and added up",
        paper="Reiss and Hoshen, TMLR 2025 (arXiv 2212.00789)",
        needs=("normals",), verified=("R", "M"),
        claims={"micro AUC, Ped2 / Avenue / ShanghaiTech": "99.1 / 93.7 / 85.9"},
    ),
    "stg-nf": Card(
        "stg-nf", "detector", "video",
        "How unlikely a person's movement is under a normalising flow of pose windows with 616 numbers",
        paper="Hirschorn and Avidan, ICCV 2023 (arXiv 2211.10946)",
        needs=("normals", "extra torch"), verified=("R",),
        claims={"micro AUC, ShanghaiTech": "85.9", "UBnormal, one-class": "71.8"},
    ),
    "linear": Card(
        "linear", "detector", "video",
        "Clips with a label as a whole: a ridge on how they move and on the tokens of what moves; closed form, no torch",
        paper="ours; leaving groups out after Allen, Technometrics 1974",
        needs=("labels",), verified=("R", "M"),
    ),
    "mulde": Card(
        "mulde", "detector", "video",
        "A small network learns the density of objects' attributes at many noise levels by score matching; mixtures judge them",
        paper="Micorek et al., CVPR 2024 (arXiv 2403.14497)",
        needs=("normals", "extra torch"), verified=("R", "M"),
        claims={"micro AUC, Ped2 / Avenue / ShanghaiTech": "99.7 / 94.3 / 86.7"},
    ),
    "ffp": Card(
        "ffp", "detector", "video",
        "A U-Net predicts the next small grey frame; what it cannot predict is anomalous",
        paper="Liu et al., CVPR 2018 (arXiv 1712.09867)",
        needs=("normals", "extra torch"), verified=("R",),
        claims={"micro AUC, Ped2 / Avenue / ShanghaiTech": "95.4 / 85.1 / 72.8"},
    ),
    "sultani": Card(
        "sultani", "detector", "video",
        "Clips with a label as a whole: the worst moment of an anomalous one must rank above the worst of a normal one",
        paper="Sultani et al., CVPR 2018 (arXiv 1801.04264)",
        needs=("labels", "extra torch"), verified=("R", "M"),
        claims={"micro AUC, UCF-Crime, C3D": "75.41"},
    ),
    "rtfm": Card(
        "rtfm", "detector", "video",
        "Clips with a label as a whole: the moments with the largest features in context speak for a clip",
        paper="Tian et al., ICCV 2021 (arXiv 2101.10030)",
        needs=("labels", "extra torch"), verified=("R", "M"),
        claims={"micro AUC, UCF-Crime, I3D": "84.30", "AP, XD-Violence": "77.81"},
    ),
    "ur-dmu": Card(
        "ur-dmu", "detector", "video",
        "Clips with a label as a whole: a memory of normal and one of anomalous patterns, read by every moment",
        paper="Zhou et al., AAAI 2023 (arXiv 2302.05160)",
        needs=("labels", "extra torch"), verified=("R", "M"),
        claims={"micro AUC, UCF-Crime": "86.97", "AP, XD-Violence": "81.66"},
    ),
    "lavad": Card(
        "lavad", "detector", "video",
        "Captions summed up over ten seconds, rated by a language model, refined by neighbours; nothing is learnt; without "
        "a model, sentence vectors compare with ordinary and alarming scenes",
        paper="Zanella et al., CVPR 2024 (arXiv 2404.01014)",
        needs=("captions", "language model (optional)"), verified=("R",),
        claims={"micro AUC, UCF-Crime": "80.28", "AP, XD-Violence": "62.01"},
    ),
    "anomalyruler": Card(
        "anomalyruler", "detector", "video",
        "A few normal captions give a rule book; what breaks a rule is anomalous; without a model, what normal captions "
        "never speak of",
        paper="Yang et al., ECCV 2024 (arXiv 2407.10299)",
        needs=("normals", "captions", "language model (optional)"), verified=("R", "M"),
        claims={"micro AUC, Ped2 / Avenue / ShanghaiTech / UBnormal": "97.9 / 89.7 / 85.2 / 71.9"},
    ),
    "vera": Card(
        "vera", "detector", "video",
        "Guiding questions, learnt in words from labelled clips, that a frozen vision model answers every few seconds",
        paper="Ye et al., CVPR 2025 (arXiv 2412.01095)",
        needs=("labels (optional)", "captions", "language model (optional)"), verified=("R",),
        claims={"micro AUC, UCF-Crime": "86.55"},
    ),
    "trlc": Card(
        "trlc", "detector", "video",
        "A taxonomy becomes rules; a first verdict on a clip is checked against them",
        paper="SmartHome-Bench, CVPR 2025 workshop (arXiv 2506.12992)",
        needs=("captions", "language model (optional)"), verified=("R",),
        claims={"accuracy, SmartHome-Bench, Claude 3.5 Sonnet": "79.05"},
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
