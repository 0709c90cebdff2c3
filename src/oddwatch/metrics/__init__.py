"""Metrics by name."""

from __future__ import annotations

from oddwatch.core import Card

METRICS: dict[str, str] = {
    "auroc": "oddwatch.metrics.ranking:auroc",
    "ap": "oddwatch.metrics.ranking:average_precision",
    "f1-max": "oddwatch.metrics.ranking:f1_max",
    "aupro": "oddwatch.metrics.pixels:aupro",
    "auspro": "oddwatch.metrics.pixels:auspro",
    "iou-max": "oddwatch.metrics.pixels:iou_max",
    "mad": "oddwatch.metrics.pixels:mad",
    "aupimo": "oddwatch.metrics.aupimo:aupimo",
    "adeval": "oddwatch.metrics.streaming:Histogram",
    "c-index": "oddwatch.metrics.severity:c_index",
    "tau-b": "oddwatch.metrics.severity:kendall_tau_b",
    "retrieval": "oddwatch.metrics.retrieval:ranks_of",
    "video-frames": "oddwatch.metrics.frames:all_frames",
    "video-events": "oddwatch.metrics.events:event_recall",
    "video-segments": "oddwatch.metrics.events:segment_map",
    "video-places": "oddwatch.metrics.places:region_detection",
}
"""Name → ``"module:attribute"``."""

CARDS: dict[str, Card] = {
    "video-frames": Card(
        "video-frames", "metric", "video",
        "Micro and macro AUC, AP (steps and trapezoids), anomalous videos only, equal error rate, over the frames of videos",
        needs=("labels",), verified=("R", "M"),
    ),
    "video-events": Card(
        "video-events", "metric", "video",
        "Share of events found at a number of false alarms an hour, and the delay of the first alarm",
        needs=("spans",), verified=("R", "M"),
    ),
    "video-segments": Card(
        "video-segments", "metric", "video",
        "Mean average precision of segments at temporal IoU 0.1 to 0.5",
        needs=("spans",), verified=("R",),
    ),
    "video-places": Card(
        "video-places", "metric", "video",
        "Region- and track-based detection (RBDC, TBDC), and UCSD's pixel-level criterion",
        paper="Ramachandra and Jones, WACV 2020; Mahadevan et al., CVPR 2010",
        needs=("boxes",), verified=("R",),
    ),
    "auroc": Card(
        "auroc", "metric", "image",
        "Chance that an anomalous item or pixel scores above a normal one, ties one half",
        needs=("labels",), verified=("R",),
    ),
    "ap": Card(
        "ap", "metric", "image",
        "Average precision by the step rule; the trapezoid area under the same curve has a name of its own",
        needs=("labels",), verified=("R",),
    ),
    "f1-max": Card(
        "f1-max", "metric", "image",
        "The best F1 over all thresholds, chosen on the labels it is judged by (oracle)",
        needs=("labels",), verified=("R",),
    ),
    "aupro": Card(
        "aupro", "metric", "image",
        "Mean overlap with each 8-connected anomalous region over false positive rates up to 0.3: exact, or the "
        "quantile and the 200-threshold variant of older tools",
        paper="Bergmann et al., IJCV 2021",
        needs=("masks",), verified=("R", "M"),
    ),
    "auspro": Card(
        "auspro", "metric", "image",
        "Saturated overlap of MVTec LOCO: a region counts as found from its saturation on",
        paper="Bergmann et al., IJCV 2022",
        needs=("masks", "saturations"), verified=("R",),
    ),
    "iou-max": Card(
        "iou-max", "metric", "image",
        "The best intersection over union at ADer's 21 thresholds, with its averages of F1, accuracy and IoU",
        paper="arXiv 2406.03262 (ADer)",
        needs=("masks",), verified=("R",),
    ),
    "mad": Card(
        "mad", "metric", "image",
        "ADer's mean of seven: AUROC, AP, F1-max of images and of pixels, and AU-PRO",
        paper="arXiv 2406.03262 (ADer)",
        needs=("masks",), verified=("R",),
    ),
    "aupimo": Card(
        "aupimo", "metric", "image",
        "Recall of each anomalous image at false positive rates of 1e-5 to 1e-4 on normal images, with the version "
        "without the worst normal image, exact thresholds and paired comparisons",
        paper="arXiv 2401.01984, BMVC 2024",
        needs=("masks", "normals"), verified=("R", "M"),
    ),
    "adeval": Card(
        "adeval", "metric", "image",
        "AUROC, AUPR and AU-PRO from histograms: one pass, constant memory, parts merge exactly",
        paper="arXiv 2406.03262 (ADEval)",
        needs=("masks",), online=True, verified=("R", "M"),
    ),
    "c-index": Card(
        "c-index", "metric", "image",
        "Share of pairs of different severity that the scores put in order",
        paper="arXiv 2411.14515 (MAD-Bench)",
        needs=("severities",), verified=("R",),
    ),
    "tau-b": Card(
        "tau-b", "metric", "image",
        "Kendall's tau-b of severity and score",
        paper="arXiv 2411.14515 (MAD-Bench)",
        needs=("severities",), verified=("R",),
    ),
    "retrieval": Card(
        "retrieval", "metric", "text-image",
        "R@K, mAP and mINP from the ranks of the right pictures; ties count against the system",
        needs=("labels",), verified=("R",),
    ),
}  # fmt: skip
