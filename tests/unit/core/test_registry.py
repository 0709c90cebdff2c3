"""Tables of names, and packages that may be absent."""

from __future__ import annotations

import sys

import pytest

from oddwatch.core import Box, InputError, MissingExtra, require, resolve

TABLE = {
    "box": "oddwatch.core.geometry:Box",
    "gone": "oddwatch.core.geometry:Gone",
    "nowhere": "oddwatch.no_such_module:X",
}


def test_resolve_gives_the_object_and_imports_only_its_module(monkeypatch):
    assert resolve(TABLE, "box", "shape") is Box


def test_a_name_that_is_not_there_lists_those_that_are():
    with pytest.raises(InputError, match=r"shape 'bax': not known \(one of: box, gone, nowhere\)"):
        resolve(TABLE, "bax", "shape")


@pytest.mark.parametrize(("name", "error"), [("gone", AttributeError), ("nowhere", ModuleNotFoundError)])
def test_a_row_that_points_nowhere_is_our_bug_and_looks_like_one(name, error):
    with pytest.raises(error):
        resolve(TABLE, name, "shape")


def test_require_gives_the_module():
    assert require("json", for_="reading", extra="none").loads("1") == 1


def test_a_missing_package_names_the_command_that_installs_it():
    with pytest.raises(MissingExtra) as caught:
        require("no_such_package_zz", for_="CLIP", extra="torch")
    assert str(caught.value) == 'CLIP needs the package no_such_package_zz: pip install "oddwatch[torch]"'
    assert isinstance(caught.value, ImportError)


def test_a_missing_part_of_a_dotted_package_is_missing_too():
    with pytest.raises(MissingExtra):
        require("json.no_such_part", for_="x", extra="y")


def test_a_package_that_is_there_but_broken_raises_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "zz_broken.py").write_text("import zz_something_else_missing\n")
    (tmp_path / "zz_raises.py").write_text("raise RuntimeError('broken build')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="zz_something_else_missing") as caught:
        require("zz_broken", for_="x", extra="y")
    assert not isinstance(caught.value, MissingExtra)
    with pytest.raises(RuntimeError, match="broken build"):
        require("zz_raises", for_="x", extra="y")
    assert "zz_broken" not in sys.modules
