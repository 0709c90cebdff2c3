"""What importing loads, and who may import whom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"onnxruntime", "cv2", "av", "faiss", "torch", "transformers", "scipy"}


@pytest.mark.parametrize("module", ["oddwatch", "oddwatch.core", "oddwatch.cli", "oddwatch.encoders"])
def test_importing_loads_nothing_heavy(module):
    script = f"import {module}, sys; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "oddwatch" in loaded and not loaded & HEAVY


def test_the_command_line_s_help_loads_nothing_heavy():
    script = (
        "import sys; from oddwatch.cli import main; sys.argv = ['oddwatch', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('LOADED', *sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.partition("LOADED")[2].split())
    assert "typer" in loaded and not loaded & HEAVY


def test_every_public_name_resolves():
    import oddwatch

    assert [name for name in oddwatch.__all__ if not hasattr(oddwatch, name)] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = oddwatch.no_such_name


def test_rooms_import_only_rooms_to_their_right(root):
    beside = Path(sys.executable).with_name("lint-imports")
    command = str(beside) if beside.exists() else shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([command, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_library_holds_no_pickle_and_no_bare_except(root):
    wrong = []
    for file in sorted((root / "src" / "oddwatch").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "import pickle" in text or "allow_pickle=True" in text or "weights_only=False" in text:
            wrong.append(f"{file.name}: pickle")
        if "except:" in text:
            wrong.append(f"{file.name}: bare except")
    assert not wrong
