"""The user guide: generated pages are fresh, links lead somewhere, commands in it would be taken."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(generate):
    assert generate.stale() == [], "run python docs/generate.py"


def test_a_changed_page_is_told(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0 and generate.main(["--check"]) == 0
    with (tmp_path / "cli.md").open("a") as page:
        page.write("x")
    assert generate.stale() == ["cli.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def written_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                (page.name, line.lstrip("$ ")) for line in lines if line.lstrip("$ ").startswith("oddwatch ")
            ]
    return found


@pytest.mark.parametrize(("page", "line"), written_commands())
def test_commands_in_the_guide_are_taken(page, line, generate):
    words = shlex.split(line, comments=True)
    verbs = {tuple(name.split()): (command, context) for name, command, context in generate.commands()}
    name = next(tuple(words[:n]) for n in (3, 2) if tuple(words[:n]) in verbs)
    command, context = verbs[name]
    assert not hasattr(command, "commands"), f"{line} names a group, not a verb"
    command.make_context(name[-1], words[len(name) :], parent=context.parent)
