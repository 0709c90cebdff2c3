"""Severity: zero up to the threshold, rising without end, never a division by zero."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.scoring.severity import in_words, margin, severity


def test_margin_and_severity_at_the_marks():
    scores = np.array([0.0, 1.0, 2.0, 3.0, 11.0])
    assert margin(scores, 2.0, 1.0).tolist() == [-1.0, 0.0, 1.0, 2.0, 10.0]
    assert severity(scores, 2.0, 1.0) == pytest.approx([0, 0, 0, 0.5, 0.9])


def test_order_is_kept_and_one_is_never_reached():
    found = severity(np.geomspace(1, 1e9, 50), 1.0, 0.5)
    assert (np.diff(found) > 0).all() and found[0] == 0 and found[-1] < 1


def test_identical_normals_give_numbers():
    found = severity(np.array([0.0, 0.3, 0.3001, 5.0]), 0.3, 0.3)
    assert np.isfinite(found).all() and found[0] == found[1] == 0 and found[3] > 0.9
    assert np.isfinite(severity(np.array([0.0, 1.0]), 0.0, 0.0)).all()


def test_in_words():
    assert [in_words(v) for v in (0, 0.2, 0.5, 0.9)] == ["none", "slight", "clear", "strong"]
