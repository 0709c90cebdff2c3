"""Questions about a scene and their answers, from the script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oddwatch.datasets.scenes.scene import Scene

_SEVERITY = {1: "low", 2: "low", 3: "medium", 4: "high", 5: "very high"}


def questions(
    scene: Scene, events: list[dict[str, Any]], facts: dict[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Question–answer pairs: ``{"question", "answer", "type"}``; ``events`` as written in the record, ``facts`` of the
    best look at each track."""
    out: list[dict[str, Any]] = []

    def ask(kind: str, question: str, answer: str | list[float]) -> None:
        out.append({"type": kind, "question": question, "answer": answer})

    ask("exists", "Does anything unusual happen?", "yes")
    ask("count", "How many different unusual things happen?", str(len(events)))
    ask("place", "Where was this filmed?", scene.place.name)
    ask("light", "What time of day is it?", scene.sky.time)
    for event in events:
        kind = event["kind"]
        ask("what", f"What happens at {event['span'][0]:.0f} seconds?", event["caption"])
        ask("when", f"When does this happen: {kind}?", event["span"])
        ask("why", f"Why did it happen ({kind})?", event["cause"])
        ask("effect", f"What followed from it ({kind})?", event["effect"])
        ask("severity", f"How severe is it ({kind})?", _SEVERITY[event["severity"]])
        track = next((t for t in event["tracks"] if t in facts), None)
        if track is not None:
            upper = facts[track]["upper"]
            ask(
                "who",
                f"What does the person wear on the upper body ({kind})?",
                f"{upper['shade']} {upper['type']}",
            )
    for absent in ("car collision", "fight", "climb"):
        if all(e["kind"] != absent for e in events):
            ask("exists", {"car collision": "Is anybody hit by a car?", "fight": "Do people fight?",
                           "climb": "Does anybody climb over a fence?"}[absent], "no")  # fmt: skip
            break
    return out
