"""A search as a list of stages: names to re-rankers, made of what the gallery and the user offer.

``coarse`` scans the gallery and comes first; ``facts`` judges its best slot by slot; every other stage re-orders hits.
``name:N`` is a stage that looks at the best N. Stages that need all queries at once are offline only and refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oddwatch.core import ChatModel, Facts, Frame, Hit, InputError, Reranker
from oddwatch.search import CARDS, STAGES
from oddwatch.search.cross import CrossModel, Shelf, WordTokens

if TYPE_CHECKING:
    from oddwatch.encoders.xvlm.model import XvlmEncoder

DEFAULT_STAGES = ("coarse", "facts")
"""What a search runs when nothing is said."""
MATRIX_STAGES = frozenset({"two-stage", "hui", "dual-view", "lightair", "uatta"})
"""Fusions of whole score matrices and trained heads: for code that holds such, no stage of one query."""

CHAT_STAGES = frozenset({"anomalylmm", "pairwise", "ssdc"})
"""Stages in which a chat model can play a part."""


@dataclass(frozen=True, slots=True)
class Stages:
    """A list of stages that was read: ``judge`` whether facts are judged slot by slot, the re-rankers in order, and the
    offline stages (name, arguments) that a benchmark applies to all queries afterwards."""

    names: tuple[str, ...]
    judge: bool
    rerankers: tuple[Reranker, ...]
    offline: tuple[str, ...] = ()

    @property
    def transductive(self) -> bool:
        """Whether a query's result depends on the other queries."""
        return bool(self.offline)


@dataclass(frozen=True, slots=True)
class Kit:
    """What stages are made of: where entries are kept, the sentence encoder, and, if the user has one, a chat model.

    ``sees`` False shows the chat model the describer's words instead of pictures. ``cross`` replaces the packaged
    cross-encoder; ``matcher`` is a published one, opened from a checkpoint.
    """

    shelf: Shelf
    words: WordTokens
    chat: ChatModel | None = None
    sees: bool = True
    cross: CrossModel | None = None
    matcher: XvlmEncoder | None = None

    def facts(self, hit: Hit) -> Facts | None:
        """The facts of a hit's entry."""
        found = self.shelf.get_many([hit.id])
        return found[0].facts if found else None

    def picture(self, hit: Hit) -> Frame | None:
        """The picture that the gallery keeps of a hit, None where there is none."""
        from oddwatch.search.checkpoint import kept_picture

        found = self.shelf.get_many([hit.id])
        return kept_picture(found[0]) if found else None

    def shown(self, hit: Hit) -> Any:
        """What a chat model is shown of a hit: the picture, or the facts where it sees none."""
        return self.picture(hit) if self.sees else self.facts(hit)


def read_names(text: str) -> tuple[str, ...]:
    """The names in ``coarse,facts,cross:64``.

    Raises:
        InputError: there is no name.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise InputError("stages", "expected names with commas between them", ",".join(DEFAULT_STAGES))
    return names


def build(names: Sequence[str], kit: Kit, *, offline: bool = False) -> Stages:
    """The stages ``names`` made of ``kit``. ``offline`` allows those that need all queries at once, at the end.

    Raises:
        InputError: an unknown name, a wrong order, a number that is none, or a stage that needs what the kit lacks.
    """
    parts = [_named(name) for name in names]
    bare = [name for name, _ in parts]
    if not bare or bare[0] != "coarse" or "coarse" in bare[1:] or "facts" in bare[2:]:
        raise InputError(
            "stages", f"cannot run {','.join(names)}", "coarse first, then facts if wanted, then the others"
        )
    late = [name for name in bare if CARDS[name].transductive]
    if late and (not offline or bare[-len(late) :] != late):
        raise InputError(
            f"stage {late[0]!r}",
            "needs all queries at once" if not offline else "stands before a stage of single queries",
            "leave it to oddwatch bench search, as the last stage",
        )
    steps = parts[1 + ("facts" in bare) : len(parts) - len(late)]
    made: list[Reranker] = []
    for name, n in steps:
        before = "facts" if "facts" in bare else "coarse"
        made.append(_MAKERS[name](kit, n, [before, *(r.name for r in made)]))
    return Stages(tuple(names), "facts" in bare, tuple(made), tuple(late))


def _named(text: str) -> tuple[str, int | None]:
    name, sign, number = text.partition(":")
    if name not in STAGES or name in MATRIX_STAGES:
        known = sorted(set(STAGES) - MATRIX_STAGES)
        raise InputError(f"stage {name!r}", "not known", f"one of: {', '.join(known)}")
    if sign and (name in ("coarse", "facts") or CARDS[name].transductive):
        raise InputError(f"stage {text!r}", "takes no number of hits", "cross:64 looks at the best 64")
    if sign and not (number.isdecimal() and 0 < int(number) <= 10_000):
        raise InputError(f"stage {text!r}", "expected a number of hits from 1 to 10000 after the colon")
    return name, int(number) if sign else None


def _cross(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.cross import CrossStage

    given: dict[str, Any] = {} if kit.cross is None else {"model": kit.cross}
    return CrossStage(kit.shelf, kit.words, n or 128, **given)


def _checkpoint(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.checkpoint import MatcherStage

    if kit.matcher is None:
        raise InputError("stage 'checkpoint'", "needs a published model", "name its file: --checkpoint PATH")
    return MatcherStage(kit.shelf, kit.matcher, n or 128)


def _cloze(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.cloze import ClozeStage

    if kit.chat is not None:
        from oddwatch.search.lmm import build_chat_cloze

        return build_chat_cloze(kit.chat, shown=kit.shown, sees=kit.sees, n=n or 3)
    from oddwatch.describe.witness import FactsWitness

    return ClozeStage(FactsWitness(), kit.facts, n or 3)


def _blanks(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.cloze import ClozeStage
    from oddwatch.search.cross import CrossWitness, packaged

    witness = CrossWitness(kit.cross or packaged(), kit.words)
    return ClozeStage(
        witness, lambda hit: next(iter(kit.shelf.get_many([hit.id])), None), n or 3, name="blanks"
    )


def _pairwise(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    if kit.chat is not None:
        from oddwatch.search.lmm import build_chat_pairwise

        return build_chat_pairwise(kit.chat, kit.shown, n=n or 10, sees=kit.sees)
    from oddwatch.search.pairwise import FactsComparator, PairwiseStage

    return PairwiseStage(FactsComparator(kit.facts), n or 10)


def _squad(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    if kit.chat is None:
        raise InputError("stage 'ssdc'", "needs a chat model", "name one: --llm URL")
    from oddwatch.search.lmm import build_chat_detective

    return build_chat_detective(kit.chat, kit.shown, sees=kit.sees, of=before[-1], rounds=n or 5)


def _sum(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.cross import packaged
    from oddwatch.search.fuse import SumStage

    weights = (kit.cross or packaged()).card.get("sum", {})
    if not weights:
        raise InputError(
            "stage 'sum'", "no weights were fitted for this cross-encoder", "leave it out, or use rrf"
        )
    if not set(weights) <= set(before):
        raise InputError("stage 'sum'", f"adds {' and '.join(sorted(weights))}", "coarse,facts,cross,sum")
    return SumStage(weights, n or 128)


def _rrf(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.fuse import RrfStage

    return RrfStage(tuple(before), n=n or 128)


def _blend(kit: Kit, n: int | None, before: Sequence[str]) -> Reranker:
    from oddwatch.search.fuse import BlendStage

    return BlendStage(before[-1], depth=n or 20)


_MAKERS: Mapping[str, Callable[[Kit, int | None, Sequence[str]], Reranker]] = {
    "cross": _cross,
    "checkpoint": _checkpoint,
    "anomalylmm": _cloze,
    "blanks": _blanks,
    "pairwise": _pairwise,
    "ssdc": _squad,
    "sum": _sum,
    "rrf": _rrf,
    "blend": _blend,
}


__all__ = ["CHAT_STAGES", "DEFAULT_STAGES", "Kit", "Stages", "build", "read_names"]
