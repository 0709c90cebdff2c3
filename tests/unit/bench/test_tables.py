"""Rows to Markdown and back into pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwatch.bench.tables import fill_page, filled, markdown, read_rows, write_rows
from oddwatch.core import InputError

ROWS = [
    {"stages": ["coarse", "facts"], "default": True, "protocol": "text to picture", "queries": "short", "seed": 0,
     "n_queries": 142, "gallery": 142, "R@1": 20.4225, "mAP": None, "ci95": {"R@1": [14.0, 27.25]}},
    {"method": "random", "default": False, "protocol": "text to picture", "queries": "short", "seed": 0,
     "R@1": 0.7, "transductive": True},
    {"protocol": "own", "method": "a|b", "n": 3, "good": True, "share": 0.25},
]  # fmt: skip


def test_markdown_has_a_table_for_each_protocol() -> None:
    text = markdown(ROWS)
    assert "| coarse + facts (default) | short | 142 | 142 | 20.4 [14.0, 27.2] |" in text
    assert "| random (transductive) | short | – | – | 0.7 |" in text
    assert "mAP" not in text, "a column nobody has is left out"
    assert "| a|b |" not in text.replace("\\|", "/") or "a\\|b" in text
    assert "| a|b" not in text and "yes" in text and "0.250" in text
    assert markdown([]) == ""


def test_pages_are_generated_and_checked(tmp_path: Path) -> None:
    write_rows(tmp_path / "street.json", ROWS, {"seed": 0})
    assert read_rows(tmp_path / "street.json") == ROWS
    page = tmp_path / "benchmarks.md"
    page.write_text("# Numbers\n\n<!-- begin street -->\nold\n<!-- end street -->\nafter\n")
    assert not fill_page(page, tmp_path, check=True) and "old" in page.read_text()
    assert not fill_page(page, tmp_path) and "20.4" in page.read_text()
    assert "old" not in page.read_text() and page.read_text().endswith("after\n")
    assert fill_page(page, tmp_path, check=True)


@pytest.mark.parametrize(
    "page",
    ["<!-- begin x -->", "<!-- begin ../x -->\n<!-- end ../x -->", "<!-- begin none -->\n<!-- end none -->"],
)
def test_broken_marks_are_refused(page: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        filled(page, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 3}', '{"rows": [1]}'])
def test_foreign_result_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError):
        read_rows(tmp_path / "x.json")
