"""The public face: a gallery to open, index, search and report from; detection in pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from oddwatch.core import Hit, Where

if TYPE_CHECKING:
    from oddwatch.core import ChatModel, Progress
    from oddwatch.gallery.store import Gallery as Store
    from oddwatch.pipeline.detect import DetectReport
    from oddwatch.pipeline.index import IndexOptions, IndexReport
    from oddwatch.pipeline.models import Models
    from oddwatch.search.alike import Across
    from oddwatch.search.engine import Kind, SearchResult
    from oddwatch.search.stages import Stages


class Gallery:
    """A folder that remembers people and moments, and answers sentences.

    >>> gallery = Gallery.open("g")                                  # doctest: +SKIP
    >>> gallery.index(["footage/", "more.mp4"])                      # doctest: +SKIP
    >>> gallery.search("a woman in a yellow coat runs")[0].reason    # doctest: +SKIP
    """

    def __init__(self, store: Store, models: Models) -> None:
        self.store, self.models = store, models

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        readonly: bool = False,
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Open the gallery in folder ``path``, made if missing and ``create``. Models load on first use.

        Raises:
            GalleryError: no gallery there, a newer format, or a damaged one.
            EncoderMismatch: its vectors were made by other models than these.
        """
        from oddwatch.gallery.store import Gallery as Store
        from oddwatch.pipeline.models import Models, spaces

        store = Store.open(path, create=create, readonly=readonly, encoders=spaces())
        return cls(store, Models(device=device, threads=threads))

    def index(
        self,
        inputs: str | Path | Iterable[str | Path],
        *,
        options: IndexOptions | None = None,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Find people and moments in files, folders and globs, and remember them. Resumable.

        Raises:
            InputError: no input at all. GalleryError: the gallery cannot be written (disk full, read-only).
        """
        from oddwatch.pipeline.index import IndexOptions, index

        given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
        return index(given, self.store, self.models, options or IndexOptions(), progress)

    def search(
        self,
        text: str | None = None,
        *,
        top: int = 10,
        where: Where | None = None,
        kind: Kind = "auto",
        min_probability: float | None = None,
        keep_within: float | None = None,
        like: str | Path | np.ndarray | None = None,
        stages: Sequence[str] | Stages | None = None,
        chat: ChatModel | None = None,
    ) -> SearchResult:
        """Rank entries by a sentence and / or a picture of a person. See :func:`oddwatch.search.engine.search`.

        ``stages`` are names ("coarse", "facts", "cross", …) or what :meth:`stages` made of them; ``chat`` plays its part in
        those that have one. ``keep_within`` (0–1) drops, of the first ``top`` hits, those below that share of the best
        one's probability.
        """
        from oddwatch.pipeline.models import picture_vector
        from oddwatch.search.engine import search
        from oddwatch.search.stages import Stages

        vector = None if like is None else picture_vector(self.models, like)
        chosen = stages if stages is None or isinstance(stages, Stages) else self.stages(stages, chat=chat)
        result = search(
            self.store,
            text,
            top=top,
            where=where,
            kind=kind,
            min_probability=min_probability,
            like=vector,
            sentence_encoder=self.models.sentence,
            stages=chosen,
        )
        return result if keep_within is None else result.kept_within(keep_within)

    def alike(
        self, id: str, *, top: int = 10, across: Across = "all", where: Where | None = None
    ) -> SearchResult:
        """Rank the people who look like the person entry ``id``, across cameras, sources or all: similarity of looks, not
        identity. Nothing is loaded or encoded. See :func:`oddwatch.search.alike.alike`."""
        from oddwatch.search.alike import alike

        return alike(self.store, id, top=top, across=across, where=where)

    def stages(
        self,
        names: Sequence[str],
        *,
        chat: ChatModel | None = None,
        sees: bool = True,
        checkpoint: str | Path | None = None,
        cross: str | Path | None = None,
    ) -> Stages:
        """The stages ``names`` over this gallery, to be used for many searches.

        ``chat`` is a vision model unless ``sees`` is False; ``checkpoint`` a published X-VLM, X2-VLM or CMP file for the
        stage of that name; ``cross`` the folder of a cross-encoder trained with ``oddwatch train search``.

        Raises:
            InputError: an unknown stage, a wrong order, or one that lacks what it needs.
        """
        from oddwatch.search.cross import CrossModel
        from oddwatch.search.stages import Kit, build

        matcher = None
        if checkpoint is not None:
            from oddwatch.encoders.xvlm.model import open_model

            matcher = open_model(checkpoint, device=self.models.device)
        own = None if cross is None else CrossModel.load(cross)
        return build(names, Kit(self.store, self.models.sentence, chat, sees, own, matcher))

    def report(self, result: SearchResult, out: str | Path) -> Path:
        """Write the answer as one self-contained HTML file."""
        from oddwatch.pipeline.pictures import context_picture
        from oddwatch.report import render

        return render(result, context_picture, Path(out))

    def clips(self, result: SearchResult | Sequence[Hit], folder: str | Path) -> list[Path]:
        """Write a short clip (a still for a picture) of every hit into ``folder``."""
        from oddwatch.pipeline.pictures import write_clips

        return write_clips(list(result), Path(folder))

    def close(self) -> None:
        """Close the files; further use raises GalleryError."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def detect(
    pictures: str | Path | Iterable[str | Path],
    *,
    normal: str | Path | Iterable[str | Path] | None = None,
    detector: str | Path | None = None,
    save_to: str | Path | None = None,
    out: str | Path | None = None,
    html: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> DetectReport:
    """Rank pictures by how far they are from the ``normal`` ones, and find where. See :func:`oddwatch.pipeline.detect.detect`.

    ``options`` are fields of :class:`oddwatch.pipeline.detect.DetectOptions`: ``method``, ``arguments``, ``rate``, …

    >>> report = detect("parts/", normal="good/", out="results/")          # doctest: +SKIP
    >>> [(f.source, f.severity, f.reason) for f in report.findings]        # doctest: +SKIP

    Raises:
        InputError: nothing to judge, no normal picture where the method needs some, an unknown method or option.
        ModelError, MissingExtra: what is needed to run is not there.
    """
    from dataclasses import fields

    from oddwatch.core import InputError
    from oddwatch.pipeline.detect import DetectOptions
    from oddwatch.pipeline.detect import detect as run

    known = [f.name for f in fields(DetectOptions)]
    for name in options:
        if name not in known:
            raise InputError(f"option {name!r}", "not known", f"one of: {', '.join(known)}")
    return run(
        pictures,
        normal,
        options=DetectOptions(**options),
        detector=detector,
        save_to=save_to,
        out=out,
        html=html,
        progress=progress,
    )
