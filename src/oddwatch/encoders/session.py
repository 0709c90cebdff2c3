"""ONNX Runtime sessions, one way for all packaged graphs."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from oddwatch.core import InputError, ModelError

Device = Literal["auto", "cpu", "cuda"]


def providers(device: str = "auto") -> list[str]:
    """Execution providers for ``auto`` (CUDA where present, else CPU), ``cpu`` or ``cuda``.

    Raises:
        InputError: an unknown device, or ``cuda`` where this ONNX Runtime has no CUDA provider.
    """
    import onnxruntime

    if device not in ("auto", "cpu", "cuda"):
        raise InputError("device", f"expected auto, cpu or cuda, got {device!r}")
    present = onnxruntime.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in present:
        raise InputError(
            "device",
            f"cuda was asked for, but ONNX Runtime offers only {', '.join(present)}",
            "pip install onnxruntime-gpu in place of onnxruntime, or use --device cpu",
        )
    if device != "cpu" and "CUDAExecutionProvider" in present:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


@lru_cache(maxsize=1)
def product_may_overflow(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether ONNX Runtime's fast u8 × s8 product saturates on this processor: x86 without VNNI. Its exact
    product gives the same numbers everywhere but takes 2.4 times as long, so it is used only there (and on
    an x86 that does not say)."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return not {"avx512_vnni", "avx_vnni"} & set(flags)


def session(model: str | Path | bytes, threads: int | None = None, device: str = "auto") -> Any:
    """An ``onnxruntime.InferenceSession`` over a file or its bytes.

    ``threads`` is the number of threads of one operator; None leaves it to ONNX Runtime (one per core).

    Raises:
        InputError: ``threads`` below 1, or a device that is not there.
        ModelError: the file is absent or not a graph that ONNX Runtime can read.
    """
    import onnxruntime

    if threads is not None and threads < 1:
        raise InputError("threads", f"expected 1 or more, got {threads}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    # Several sessions live in one process; a pool that spins after its work is done robs the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if product_may_overflow():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else str(model)
    name = "model" if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise ModelError(f"{name}: no such model file")
    chosen = providers(device)
    try:
        return onnxruntime.InferenceSession(source, options, providers=chosen)
    except Exception as error:  # its errors derive from Exception and are no public names
        raise ModelError(f"{name}: ONNX Runtime cannot read this graph: {error}") from error
