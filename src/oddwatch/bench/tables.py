"""Rows to JSON files and Markdown tables; pages generated from committed results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oddwatch.core import InputError, to_jsonable

Row = Mapping[str, Any]

LAYOUT: dict[str, tuple[str, ...]] = {
    "text to picture": ("system", "queries", "n_queries", "gallery", "R@1", "R@5", "R@10", "mAP", "mINP", "train_pairs",
                        "model_calls", "seconds_per_query"),
    "drawn people": ("system", "facts", "queries", "n", "n_queries", "gallery", "R@1", "R@5", "R@10", "mAP", "own twin first",
                     "train_pairs", "model_calls", "seconds_per_query"),
    "text to moment": ("system", "queries", "n_queries", "gallery", "relevant", "R@1", "R@5", "R@10", "mAP"),
    "facts": ("fact", "equivalence", "n", "accuracy", "balanced_accuracy", "coverage", "accuracy_known"),
    "nobody matches": ("gallery", "n_true", "right_matches", "n_false", "right_nobody", "auc"),
    "paired": ("system", "against", "n_queries", "R@1 gain", "R@1 p", "only_default", "only_other", "mcnemar p",
               "mAP gain", "mAP p"),
    "image anomalies": ("system", "category", "shots", "n_train", "n_good", "n_bad", "image_auroc", "image_ap", "image_f1_max",
                        "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "aupimo", "iou_max", "pictures_per_second",
                        "fit_seconds", "model_mb", "note"),
    "video anomalies": ("system", "category", "folds", "n_train", "n_test", "n_frames", "micro_auc", "macro_auc", "ap",
                        "anomalous_auc", "eer", "clip_auc", "event_recall", "false_alarms_per_hour", "detection_delay",
                        "pixel_auc", "covered", "told_area", "frames_per_second", "fit_seconds", "note"),
    "same person": ("system", "queries", "gallery", "R@1", "R@5", "mAP"),
    "twins": ("queries", "people", "pictures", "n", "right", "rate", "chance"),
    "slots": ("slot", "true_matched", "true_contradicted", "true_unknown", "wrong_matched", "wrong_contradicted",
              "wrong_unknown", "lost", "won", "n_queries", "not_first", "words_unread"),
}  # fmt: skip
"""Columns of each protocol's table; other protocols show what their rows have."""

BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"


def system_of(row: Row) -> str:
    """``coarse + facts`` or the method's name, marked where it is the default or transductive."""
    name = " + ".join(row["stages"]) if row.get("stages") else str(row.get("method", ""))
    marks = [
        m for m, on in (("default", row.get("default")), ("transductive", row.get("transductive"))) if on
    ]
    return f"{name} ({', '.join(marks)})" if marks else name


def _cell(row: Row, column: str) -> str:
    value = system_of(row) if column == "system" else row.get(column)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    percent = column.startswith(("R@", "mAP", "mINP")) and not column.endswith(" p")
    text = f"{value:.1f}" if percent else f"{value:.3g}" if column.startswith("seconds") else f"{value:.3f}"
    ends = (row.get("ci95") or {}).get(column)
    deviation = row.get(f"{column}_sd")
    if deviation is not None:
        text += f" ± {deviation:.3f}"
    if ends:
        low, high = (f"{e:.1f}" if percent else f"{e:.2f}" for e in ends)
        text += f" [{low}, {high}]"
    return text


def markdown(rows: Sequence[Row]) -> str:
    """One Markdown table per protocol, in order of first appearance; intervals are 95 %."""
    parts = []
    for protocol in dict.fromkeys(str(r.get("protocol", "results")) for r in rows):
        own = [r for r in rows if str(r.get("protocol", "results")) == protocol]
        columns = [
            c for c in _columns(protocol, own) if c == "system" or any(r.get(c) is not None for r in own)
        ]
        lines = [f"**{protocol}** (seed {own[0].get('seed', '–')})", ""]
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_cell(r, c) for c in columns) + " |" for r in own]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + ("\n" if parts else "")


def _columns(protocol: str, rows: Sequence[Row]) -> Sequence[str]:
    if protocol.split(",")[0] in LAYOUT:
        return LAYOUT[protocol.split(",")[0]]
    hidden = {"stages", "method", "default", "transductive", "protocol", "seed", "ci95", "per_class"}
    plain = dict.fromkeys(
        k for r in rows for k, v in r.items() if k not in hidden and not isinstance(v, (dict, list))
    )
    return ["system", *plain] if any(system_of(r) for r in rows) else list(plain)


def write_rows(path: str | Path, rows: Sequence[Row], about: Mapping[str, Any] | None = None) -> None:
    """Write ``{"about": …, "rows": […]}`` as JSON, stable from run to run but for the numbers."""
    data = {"about": to_jsonable(about or {}), "rows": to_jsonable(list(rows))}
    Path(path).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a result file. Raises InputError when it is not one."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = data["rows"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(str(path), f"is not a result file: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise InputError(str(path), "expected a list of rows")
    return rows


def filled(page: str, results: str | Path) -> str:
    """``page`` with the text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` replaced by the tables
    of ``results``/NAME.json. Raises InputError for a mark without end or without result file."""
    done, rest = [], page
    while "<!-- begin " in rest:
        before, _, rest = rest.partition("<!-- begin ")
        name, found, rest = rest.partition(" -->")
        _, closed, rest = rest.partition(END.format(name))
        if not found or not closed or not name.replace("-", "").replace("_", "").isalnum():
            raise InputError("page", f"the mark <!-- begin {name[:40]} --> has no end")
        body = _body(read_rows(Path(results) / f"{name}.json"))
        done.append(f"{before}{BEGIN.format(name)}\n\n{body}\n{END.format(name)}")
    return "".join(done) + rest


def _body(rows: Sequence[Row]) -> str:
    """The tables of a result file: those of the language simulation by N and error rate, all others row by row."""
    from oddwatch.bench import simulation

    if rows and rows[0].get("protocol") == simulation.PROTOCOL:
        return simulation.pivot([r for r in rows if r.get("weighting") == "equal"]) + "\n"
    return markdown(rows)


def fill_page(page: str | Path, results: str | Path, check: bool = False) -> bool:
    """Regenerate a page's tables in place. Returns whether it was up to date; ``check`` writes nothing."""
    page = Path(page)
    old = page.read_text(encoding="utf-8")
    new = filled(old, results)
    if new != old and not check:
        page.write_text(new, encoding="utf-8")
    return new == old
