"""The packaged models through the search benchmark, on real crops."""

from __future__ import annotations

import pytest

from oddwatch.bench.search import run_search_bench
from oddwatch.core import InputError
from oddwatch.datasets.records import data_root, read_records


@pytest.mark.slow
def test_packaged_describer_beats_chance_on_real_crops() -> None:
    try:
        folder = data_root() / "cuhk_pedes_sample"
    except InputError:
        pytest.skip("no data sets here: set ODDWATCH_DATA")
    if not folder.is_dir():
        pytest.skip("cuhk_pedes_sample is not in the data folder")
    rows = run_search_bench(read_records(folder), threads=2)
    found = {tuple(r.get("stages", ())) or r["method"]: r for r in rows if r["protocol"] == "text to picture"}
    assert found["coarse", "facts"]["n_queries"] == 24
    assert found["coarse", "facts"]["mAP"] > found["random"]["mAP"]
