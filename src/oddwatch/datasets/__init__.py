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

VIDEO_SETS: dict[str, str] = {
    "ucsd_clips": "oddwatch.datasets.videos:read_video_sets",
    "avenue_stills": "oddwatch.datasets.videos:read_video_sets",
    "frame_labels": "oddwatch.datasets.videos:read_video_sets",
    "label_lines": "oddwatch.datasets.videos:read_video_sets",
    "clip_labels": "oddwatch.datasets.videos:read_video_sets",
    "ranges_json": "oddwatch.datasets.videos:read_video_sets",
    "tracks": "oddwatch.datasets.videos:read_video_sets",
    "frame_gt": "oddwatch.datasets.videos:read_video_sets",
    "spans": "oddwatch.datasets.videos:read_video_sets",
    "ucsd": "oddwatch.datasets.videos:read_video_sets",
    "avenue": "oddwatch.datasets.videos:read_video_sets",
    "shanghaitech": "oddwatch.datasets.videos:read_video_sets",
    "ubnormal": "oddwatch.datasets.videos:read_video_sets",
    "ucf_crime": "oddwatch.datasets.videos:read_video_sets",
    "xd_violence": "oddwatch.datasets.videos:read_video_sets",
    "msad": "oddwatch.datasets.videos:read_video_sets",
}
"""Layout of a video anomaly set → its reader, which recognises the layout by itself."""

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
    "ucsd_clips": Card(
        "ucsd_clips", "benchmark", "video",
        "Test clips of UCSD Ped1 or Ped2 as videos with the official frame ranges; four folds, each learnt from the "
        "normal segments of the clips of the others",
        paper="Mahadevan et al., CVPR 2010",
        verified=("R",),
    ),
    "avenue_stills": Card(
        "avenue_stills", "benchmark", "video",
        "CUHK Avenue as stills every 2 s with pixel masks; no motion in them",
        paper="Lu, Shi, Jia, ICCV 2013",
        verified=("R",),
    ),
    "frame_labels": Card(
        "frame_labels", "benchmark", "video",
        "One video with a label a frame (UMN); its normal first half is learnt, the rest tested",
        paper="Mehran, Oyama, Shah, CVPR 2009",
        verified=("R",),
    ),
    "label_lines": Card(
        "label_lines", "benchmark", "video",
        "Videos with NAME_labels.csv to test on, those without to learn from (upCam's hours)",
        verified=("R",),
    ),
    "clip_labels": Card(
        "clip_labels", "benchmark", "video",
        "A label a clip (surveillance camera fights); five folds that keep near-duplicate clips together",
        paper="Akti, Tataroglu, Ekenel, IPTA 2019",
        verified=("R",),
    ),
    "ranges_json": Card(
        "ranges_json", "benchmark", "video",
        "A few clips with anomalous frames in annotations.json, for runs from end to end",
        verified=("R",),
    ),
    "tracks": Card(
        "tracks", "benchmark", "video",
        "Boxes and tracks of people without pixels (Avenue, ShanghaiTech), frame labels of whole videos",
        paper="Kanu-Asiegbu et al., IEEE SSCI 2021",
        verified=("R",),
    ),
    "frame_gt": Card(
        "frame_gt", "benchmark", "video",
        "Frame labels of UCF-Crime, XD-Violence and ShanghaiTech without footage",
        verified=("R",),
    ),
    "spans": Card(
        "spans", "benchmark", "video",
        "One's own videos with spans.csv or spans.json: file, start, end in seconds, label; folder train is learnt",
    ),
    "ucsd": Card(
        "ucsd", "benchmark", "video",
        "UCSD Ped1 or Ped2 as shipped: Train and Test folders of stills, masks, ranges of the .m file",
        paper="Mahadevan et al., CVPR 2010",
    ),
    "avenue": Card(
        "avenue", "benchmark", "video",
        "CUHK Avenue as shipped: training and testing videos, masks in MAT files",
        paper="Lu, Shi, Jia, ICCV 2013",
    ),
    "shanghaitech": Card(
        "shanghaitech", "benchmark", "video",
        "ShanghaiTech Campus as shipped, one-class split: training videos, testing frames, frame and pixel masks",
        paper="Liu et al., CVPR 2018",
    ),
    "ubnormal": Card(
        "ubnormal", "benchmark", "video",
        "UBnormal: 29 drawn scenes, split by the lists of names, frames by the tracks of anomalies",
        paper="arXiv 2111.08644, CVPR 2022",
    ),
    "ucf_crime": Card(
        "ucf_crime", "benchmark", "video",
        "UCF-Crime: temporal annotation of 290 test videos, labels of whole clips to train on",
        paper="arXiv 1801.04264, CVPR 2018",
    ),
    "xd_violence": Card(
        "xd_violence", "benchmark", "video",
        "XD-Violence: annotations.txt for the test videos, classes by their names; AP is its metric",
        paper="Wu et al., ECCV 2020",
    ),
    "msad": Card(
        "msad", "benchmark", "video",
        "MSAD: protocol i (normal videos are learnt) or, with the published lists, ii (labels of clips)",
        paper="arXiv 2402.04857, NeurIPS 2024",
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

__all__ = ["CARDS", "GENERATORS", "IMAGE_SETS", "VIDEO_SETS"]
