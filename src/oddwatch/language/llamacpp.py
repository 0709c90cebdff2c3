"""llama.cpp in this process, through xllamacpp (the ``[llm]`` extra). Weights by path only."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from pathlib import Path
from typing import Any

from oddwatch.core import InputError, ModelError, require
from oddwatch.language.asking import Chat, Question, Reply
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache
from oddwatch.language.pictures import PictureLimits
from oddwatch.language.server import ServerModel

MAGIC = b"GGUF"
PART = 1 << 20


def fingerprint(path: Path) -> str:
    """Twelve hex digits over a file's size, first and last MiB.

    Raises:
        ModelError: no such file, or no GGUF file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PART)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - PART, 0))
            tail = file.read(PART)
    except OSError as error:
        raise ModelError(f"{path}: no model can be read here: {error.strerror}") from error
    if not head.startswith(MAGIC):
        raise ModelError(f"{path}: expected a GGUF file")
    return hashlib.blake2b(str(size).encode() + head + tail, digest_size=6).hexdigest()


class LlamaCppModel(Chat):
    """A GGUF model in this process. ``projector`` is the second GGUF file (mmproj) of a model that sees.

    The weights are loaded at the first question. xllamacpp serves them on a free loopback port; a random key keeps
    others out, and a question that runs out of time is really stopped. ``context`` tokens hold question and answer. ``threads``: as many as there
    are idle cores; on busy ones llama.cpp's threads wait for each other and all of it slows down many times.

    Raises:
        ModelError: not a GGUF file, or one that llama.cpp cannot load.
        MissingExtra: xllamacpp is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        projector: str | Path | None = None,
        context: int = 4096,
        threads: int | None = None,
        timeout: float = 120.0,
        max_tokens: int = 256,
        repairs: int = 1,
        pictures: PictureLimits | None = None,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(timeout=timeout, parallel=1, repairs=repairs, cache=cache, budget=budget)
        self.path, self.projector = Path(path), None if projector is None else Path(projector)
        self.context, self.threads, self.max_tokens = context, threads, max_tokens
        self.pictures = pictures or PictureLimits()
        marks = [fingerprint(p) for p in (self.path, self.projector) if p is not None]
        self._id = f"llama.cpp:{self.path.stem}-{'-'.join(marks)};{max_tokens};{self.pictures.long_side}"
        self._library = require("xllamacpp", for_="llama.cpp in this process", extra="llm")
        self._engine: Any = None
        self._server: ServerModel | None = None
        self._loading = threading.Lock()

    @property
    def id(self) -> str:
        return self._id

    @property
    def sees(self) -> bool:
        return self.projector is not None

    def reply(self, question: Question) -> Reply:
        if question.images and self.projector is None:
            raise InputError("images", f"{self.path.name} has no eyes", "name its projector (mmproj) file")
        return self.served().reply(question)

    def served(self) -> ServerModel:
        """The model as a server on loopback, loaded now if it was not."""
        with self._loading:
            if self._server is None:
                self._server = self._serve()
            return self._server

    def _serve(self) -> ServerModel:
        params = self._library.CommonParams()
        params.model.path = str(self.path)
        if self.projector is not None:
            params.mmproj.path = str(self.projector)
        key = secrets.token_urlsafe(24)
        params.n_ctx, params.n_parallel, params.verbosity, params.api_keys = self.context, 1, -1, [key]
        params.ui = False
        if self.threads is not None:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.threads
        try:
            self._engine = self._library.Server(params)
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(f"{self.path}: llama.cpp cannot load this model: {error}") from error
        return ServerModel(
            self._engine.listening_address,
            self.path.stem,
            key,
            timeout=self.timeout,
            max_tokens=self.max_tokens,
            parallel=1,
            repairs=0,
            pictures=self.pictures,
        )

    def close(self) -> None:
        """Free the weights."""
        with self._loading:
            if self._server is not None:
                self._server.close()
            self._server = self._engine = None
