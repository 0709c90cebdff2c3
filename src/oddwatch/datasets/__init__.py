"""Readers of public benchmarks as shipped, and generators of labelled data."""

from __future__ import annotations

from oddwatch.core import Card

IMAGE_SETS: dict[str, str] = {
    "mvtec_ad": "oddwatch.datasets.images:read_image_sets",
    "mvtec_loco": "oddwatch.datasets.images:read_image_sets",
    "visa": "oddwatch.datasets.images:read_image_sets",
    "mtd": "oddwatch.datasets.images:read_image_sets",
    "btad": "oddwatch.datasets.images:read_image_sets",
    "3cad": "oddwatch.datasets.images:read_image_sets",
    "good_and_rest": "oddwatch.datasets.images:read_image_sets",
    "mad_bench": "oddwatch.datasets.images:read_image_sets",
}
"""Layout of an image anomaly set → its reader, which recognises the layout by itself."""

GENERATORS: dict[str, str] = {
    "defects": "oddwatch.datasets.defects:training_pairs",
}
"""Generator of labelled data → ``"module:function"``."""

CARDS: dict[str, Card] = {
    "mvtec_ad": Card(
        "mvtec_ad", "benchmark", "image",
        "One-class sets in MVTec AD's layout: CATEGORY/{train,test}/DEFECT with ground_truth; a category without "
        "normal pictures has an empty train part",
        paper="Bergmann et al., CVPR 2019",
        verified=("R",),
    ),
    "mvtec_loco": Card(
        "mvtec_loco", "benchmark", "image",
        "Logical and structural anomalies; several mask regions a picture and their saturation thresholds",
        paper="Bergmann et al., IJCV 2022",
        verified=("R",),
    ),
    "visa": Card(
        "visa", "benchmark", "image",
        "VisA by split_csv/1cls.csv, or its raw folders with 90 % of the normal pictures to learn from",
        paper="Zou et al., ECCV 2022",
    ),
    "mtd": Card(
        "mtd", "benchmark", "image",
        "Magnetic tile defects: 80 % of MT_Free by seed to learn from, the rest and the defects to test",
        paper="Huang et al., The Visual Computer 2018",
        verified=("R",),
    ),
    "btad": Card(
        "btad", "benchmark", "image",
        "BeanTech: three products as NN/{train/ok,test/{ok,ko},ground_truth/ko}",
        paper="arXiv 2104.10036",
    ),
    "3cad": Card(
        "3cad", "benchmark", "image",
        "Eight parts of consumer electronics, MVTec AD's folders with masks named as their pictures",
        paper="arXiv 2502.05761, AAAI 2025",
        claims={"pictures": "10,493 normal to learn from; 5,084 normal and 11,462 defective to test"},
    ),
    "good_and_rest": Card(
        "good_and_rest", "benchmark", "image",
        "A folder of good pictures beside others: 60 % of the good ones by seed to learn from",
        verified=("R",),
    ),
    "mad_bench": Card(
        "mad_bench", "benchmark", "image",
        "Test pictures with a level of severity, from a CSV with Path and Severity; levels rounded up",
        paper="arXiv 2411.14515",
    ),
    "defects": Card(
        "defects", "generator", "image",
        "Defects drawn on one's own normal pictures with their masks: Perlin textures, cut-paste, shuffled patches, "
        "scratches, blobs, cracks, and missing, swapped, extra or rotated parts; faint to strong, by seed",
        paper="DRAEM, arXiv 2108.07610; CutPaste, arXiv 2104.04015; CPR, arXiv 2308.06748",
        needs=("normal pictures",),
        verified=("R",),
    ),
}  # fmt: skip

__all__ = ["CARDS", "GENERATORS", "IMAGE_SETS"]
