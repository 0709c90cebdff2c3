"""Questions with one right answer about a drawn scene, and as many that nobody could answer from the footage.

The answers come from the annotations of the scene's frames, never from a picture. Two families of wording: a parser may
be developed on family A; family B has other templates and other words for the same things. An unanswerable question asks for
what no picture shows (names, speech, motives, what is inside a bag), for another time, for somebody or something that
is not there, or for what lies outside the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.core import Jsonable
from oddwatch.datasets.scenes import words as w
from oddwatch.datasets.scenes.captions import Family

if TYPE_CHECKING:
    from oddwatch.datasets.scenes.scene import Scene

SEEN, TALL = 0.5, 34
"""A person counts as seen with that share visible and so many pixels on the longer side."""

WAYS: dict[str, tuple[tuple[str, str, str], tuple[str, str, str]]] = {
    "falling": (("fall", "falls", "falling"), ("tumble", "tumbles", "tumbling")),
    "lying": (("lie on the ground", "lies on the ground", "lying on the ground"),
              ("sprawl on the floor", "sprawls on the floor", "sprawled on the floor")),
    "running": (("run", "runs", "running"), ("sprint", "sprints", "sprinting")),
    "walking": (("walk", "walks", "walking"), ("stroll", "strolls", "strolling")),
    "sitting": (("sit", "sits", "sitting"), ("sit down", "sits down", "seated")),
    "crouching": (("crouch", "crouches", "crouching"), ("squat", "squats", "squatting")),
    "bending": (("bend down", "bends down", "bending down"), ("stoop", "stoops", "stooping")),
    "climbing": (("climb over a fence", "climbs over a fence", "climbing over a fence"),
                 ("scale a barrier", "scales a barrier", "scaling a barrier")),
    "riding": (("ride a bicycle", "rides a bicycle", "riding a bicycle"), ("cycle", "cycles", "cycling")),
    "jumping": (("jump", "jumps", "jumping"), ("leap", "leaps", "leaping")),
    "fight": (("fight", "fights", "fighting"), ("brawl", "brawls", "brawling")),
    "throw": (("throw something", "throws something", "throwing something"),
              ("hurl something", "hurls something", "hurling something")),
    "wave": (("wave", "waves", "waving"), ("beckon", "beckons", "beckoning")),
}  # fmt: skip
"""Postures and actions of the annotations → (plain, third person, -ing) in the words of family A and B."""

_PLACES = {
    "street": ("street", "road", "pavement"),
    "plaza": ("plaza", "square"),
    "corridor": ("corridor", "indoor"),
    "platform": ("platform", "station"),
    "car park": ("car park", "parking"),
    "park": ("park", "grass", "trees"),
}


@dataclass(frozen=True, slots=True)
class Question(Jsonable):
    """``text`` of a ``kind`` (yes-no, count, when, long, colour, garment, where, doing, light, place, open) and what is
    right: ``answers`` are the accepted words, numbers or start times; empty where nobody can know.
    ``topic`` says what it is about, or why it has no answer."""

    text: str
    kind: str
    topic: str
    answers: tuple[Any, ...] = ()

    @property
    def answerable(self) -> bool:
        """Whether the footage tells."""
        return bool(self.answers)


@dataclass(slots=True)
class Told:
    """One person in the annotations: times, boxes, and the facts at each, ascending in time."""

    times: list[float] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    def does(self, way: str) -> np.ndarray:
        """(T,) bool: when the person does ``way``. The annotations call getting up a crouch; no viewer would."""
        return np.array([way in done(f) for f in self.facts], bool)

    def spans(self, way: str) -> list[tuple[float, float]]:
        """Start and end of each stretch of ``way``."""
        out: list[tuple[float, float]] = []
        for time, on, before in zip(self.times, self.does(way), [False, *self.does(way)], strict=False):
            if on and not before:
                out.append((time, time))
            elif on:
                out[-1] = (out[-1][0], time)
        return out

    def look(self) -> dict[str, Any]:
        """What the person wears; the same all the time."""
        return self.facts[0]


def done(facts: dict[str, Any]) -> set[str]:
    """The posture and actions of a person's annotation, as a viewer would say them."""
    return {*facts["action"], *([] if facts["doing"] == "get_up" else [facts["posture"]])}


def told(annotations: Iterable[dict[str, Any]], least: float = SEEN, tall: float = TALL) -> dict[int, Told]:
    """The people of a scene's frame annotations, by track, where they can be seen."""
    people: dict[int, Told] = {}
    for notes in annotations:
        for one in notes["people"]:
            x0, y0, x1, y1 = one["box"]
            if one["visible"] >= least and max(x1 - x0, y1 - y0) >= tall:
                who = people.setdefault(one["track"], Told())
                who.times.append(notes["time"])
                who.boxes.append(one["box"])
                who.facts.append(one["facts"])
    return people


def quiz(
    scene: Scene, annotations: Sequence[dict[str, Any]], family: Family = "A", each: int = 9
) -> list[Question]:
    """``each`` answerable and ``each`` unanswerable questions about ``scene``, from its frames' ``annotations``.

    Everything is a function of the scene and the family.
    """
    rng = np.random.default_rng([scene.seed, scene.index, 707, "AB".index(family)])
    maker = _Maker(scene, annotations, family, rng)
    found: list[Question] = []
    for wanted, kinds in ((True, maker.known()), (False, maker.unknown())):
        got: list[Question] = []
        order = [kinds[int(i)] for i in rng.permutation(len(kinds))]
        # One of each sort before a second of any.
        for make in order * 6:
            one = make() if len(got) < each else None
            if one is not None and one.answerable == wanted and all(one.text != o.text for o in got):
                got.append(one)
        found += got
    return found


class _Maker:
    def __init__(
        self, scene: Scene, annotations: Sequence[dict[str, Any]], family: Family, rng: np.random.Generator
    ) -> None:
        self.scene, self.family, self.rng = scene, family, rng
        self.people = told(annotations)
        self.any = told(annotations, 0.0, 0.0)
        self.times = [float(n["time"]) for n in annotations]
        self.end = self.times[-1]

    # -- words ---------------------------------------------------------------------------------------------------

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def say(self, a: Sequence[str], b: Sequence[str], **words: Any) -> str:
        return str(self.pick(a if self.family == "A" else b)).format(**words)

    def way(self, way: str, form: int) -> str:
        return WAYS[way]["AB".index(self.family)][form]

    def garment(self, kind: str) -> str:
        table = w.GARMENTS[self.family]
        return str(self.pick(table.get(kind, (kind,))))

    # -- whom ----------------------------------------------------------------------------------------------------

    def ways(self, there: bool) -> list[str]:
        """Ways that somebody seen does (well seen), or that nobody does at all."""
        if there:
            return [x for x in WAYS if any(p.does(x).sum() >= 2 for p in self.people.values())]
        return [x for x in WAYS if not any(p.does(x).any() for p in self.any.values())]

    def only(self) -> tuple[str, Told] | None:
        """A way that exactly one person does, and that person."""
        rare = [x for x in self.ways(True) if x not in ("walking",)]
        fits = [
            (x, next(p for p in self.people.values() if p.does(x).sum() >= 2))
            for x in rare
            if sum(p.does(x).any() for p in self.any.values()) == 1
        ]
        return self.pick(fits) if fits else None

    def dressed(self) -> tuple[str, Told] | None:
        """Somebody told apart from all others by the colour of the upper garment, in words."""
        colours = [p.look()["upper"]["color"] for p in self.any.values()]
        fits = [p for p in self.people.values() if colours.count(p.look()["upper"]["color"]) == 1]
        return (self.wear(self.pick(fits).look()["upper"]), self.last) if fits else None

    def wear(self, upper: dict[str, Any]) -> str:
        self.last = next(p for p in self.people.values() if p.look()["upper"] is upper)
        colour = upper["color"]
        return f"{'person in' if self.family == 'A' else 'individual clad in'} the {colour} {self.garment(upper['type'])}"

    def who(self) -> str:
        """Somebody who is there, by what they do or wear."""
        found = self.only()
        if found is not None and self.rng.random() < 0.6:
            return f"{'person' if self.family == 'A' else 'individual'} who {self.way(found[0], 1)}"
        clad = self.dressed()
        return clad[0] if clad else "person"

    # -- questions with an answer --------------------------------------------------------------------------------

    def known(self) -> list[Callable[[], Question | None]]:
        return [self.exists, self.absent, self.now, self.doers, self.when, self.colour, self.legs, self.part,
                self.before, self.after, self.light, self.place, self.long, self.at, self.wears]  # fmt: skip

    def exists(self, there: bool = True) -> Question | None:
        ways = self.ways(there)
        if not ways:
            return None
        way = self.pick(ways)
        text = self.say(("Does anybody {x}?", "Is anyone {y}?", "Is there somebody who {z}?"),
                        ("Can a person be seen {y}?", "Do you see anyone {y}?", "Would you say that somebody {z}?"),
                        x=self.way(way, 0), y=self.way(way, 2), z=self.way(way, 1))  # fmt: skip
        return Question(text, "yes-no", way, ("yes" if there else "no",))

    def absent(self) -> Question | None:
        return self.exists(False)

    def now(self) -> Question | None:
        time = float(self.rng.integers(2, int(self.end) - 1))
        look = min(self.times, key=lambda t: abs(t - time))
        n = sum(look in p.times for p in self.people.values())
        text = self.say(("How many people are there at {t:.0f} seconds?", "How many people are in the picture at {t:.0f} s?"),
                        ("At second {t:.0f}, how many persons are in view?", "How many individuals can be counted at the {t:.0f} second mark?"),
                        t=time)  # fmt: skip
        return Question(text, "count", "people", (n,) if n <= 3 else (n - 1, n, n + 1))

    def doers(self) -> Question | None:
        ways = [x for x in ("falling", "lying", "running", "crouching", "climbing") if x in self.ways(True)]
        if not ways:
            return None
        way = self.pick(ways)
        n = sum(bool(p.does(way).any()) for p in self.people.values())
        text = self.say(("How many people {x}?",), ("What is the number of persons who {x}?", "How many individuals {x}?"),
                        x=self.way(way, 0))  # fmt: skip
        return Question(text, "count", way, (n,) if n <= 3 else (n - 1, n, n + 1))

    def when(self) -> Question | None:
        ways = [x for x in self.ways(True) if x not in ("walking", "sitting")]
        if not ways:
            return None
        way = self.pick(ways)
        starts = [s for p in self.people.values() for s, _ in p.spans(way)]
        text = self.say(("When does somebody {x}?", "At what time does anybody {x}?"),
                        ("At which second does a person {x}?", "What is the moment in which somebody begins to {x}?"),
                        x=self.way(way, 0))  # fmt: skip
        return Question(text, "when", way, tuple(sorted(starts)))

    def colour(self) -> Question | None:
        found = self.only()
        if found is None:
            return None
        way, who = found
        part = self.pick([k for k in ("upper", "lower") if who.look()[k] is not None])
        item = who.look()[part]
        text = self.say(("What colour is the {g} of the person who {x}?", "What color is the {g} worn by the person who {x}?"),
                        ("Which colour is the {g} of the individual who {x}?", "In which color is the {g} on the one who {x}?"),
                        g=self.garment(item["type"]), x=self.way(way, 1))  # fmt: skip
        return Question(text, "colour", part, (item["color"],))

    def legs(self) -> Question | None:
        found = self.only() if self.rng.random() < 0.5 else self.dressed()
        if found is None or found[1].look()["lower"] is None:
            return None
        said, who = found
        name = f"person who {self.way(said, 1)}" if said in WAYS else said
        text = self.say(
            ("What does the {n} wear on the legs?",),
            ("Which garment is the {n} wearing below the waist?",),
            n=name,
        )
        same = {
            "trousers": ("trousers", "jeans", "leggings"),
            "jeans": ("jeans", "trousers"),
            "leggings": ("leggings", "trousers"),
        }
        kind = who.look()["lower"]["type"]
        return Question(text, "garment", "lower", same.get(kind, (kind,)))

    def part(self) -> Question | None:
        found = self.only()
        if found is None:
            return None
        way, who = found
        first = int(np.flatnonzero(who.does(way))[0])
        x = (who.boxes[first][0] + who.boxes[first][2]) / 2 / self.scene.camera.width
        if min(abs(x - 1 / 3), abs(x - 2 / 3)) < 0.04:
            return None
        text = self.say(("In which part of the picture is the person who {x}, left, middle or right?", "Where in the picture is the person who {x}?"),
                        ("On which side of the frame is the individual who {x}?", "Whereabouts in the image is the one who {x}?"),
                        x=self.way(way, 1))  # fmt: skip
        return Question(text, "where", way, ("left" if x < 1 / 3 else "right" if x > 2 / 3 else "middle",))

    def _beside(self, after: bool) -> Question | None:
        found = self.only()
        if found is None:
            return None
        way, who = found
        does = np.flatnonzero(who.does(way))
        at = int(does[-1]) + 1 if after else int(does[0]) - 1
        near = (at + 2 if after else at - 2) if way in ("falling", "climbing") else at
        if not (0 <= at < len(who.times) and 0 <= near < len(who.times)):
            return None
        postures = tuple({who.facts[at]["posture"], who.facts[near]["posture"]} - {way})
        text = (
            self.say(("What does the person who {x} do after that?",), ("What follows for the individual who {x}, what do they do next?",
                     "What is the one who {x} doing afterwards?"), x=self.way(way, 1))
            if after
            else self.say(("What does the person who {x} do before that?",), ("What was the individual who {x} doing beforehand?",
                          "What is the one who {x} doing earlier?"), x=self.way(way, 1))
        )  # fmt: skip
        return Question(text, "doing", "after" if after else "before", postures) if postures else None

    def before(self) -> Question | None:
        return self._beside(False)

    def after(self) -> Question | None:
        return self._beside(True)

    def light(self) -> Question | None:
        time = self.scene.sky.time
        if time not in ("day", "night"):
            return None
        text = self.say(
            ("Is it day or night?",),
            ("Was this filmed in daylight or after dark?", "What time of day is it?"),
        )
        return Question(text, "light", "light", (time,))

    def place(self) -> Question | None:
        text = self.say(
            ("Where was this filmed?", "In what kind of place is this?"),
            ("What sort of location does the footage show?",),
        )
        return Question(text, "place", "place", _PLACES[self.scene.place.name])

    def long(self) -> Question | None:
        for who in self.people.values():
            spans = who.spans("lying")
            if spans and sum(p.does("lying").any() for p in self.any.values()) == 1:
                lasts = max(b - a for a, b in spans)
                text = self.say(
                    ("How long does somebody lie on the ground?",),
                    ("For how many seconds is the person sprawled on the floor?",),
                )
                return Question(text, "long", "lying", (round(lasts, 1),)) if lasts >= 2 else None
        return None

    def at(self) -> Question | None:
        found = self.dressed()
        if found is None or len(found[1].times) < 12:
            return None
        words, who = found
        i = int(self.rng.integers(3, len(who.times) - 3))
        around = {who.facts[k]["posture"] for k in range(i - 3, i + 4)}
        text = self.say(("What is the {n} doing at {t:.0f} seconds?",), ("{t:.0f} seconds in, what is the {n} up to?",),
                        n=words, t=who.times[i])  # fmt: skip
        acts = set.intersection(*(set(who.facts[k]["action"]) for k in range(i - 3, i + 4)))
        return Question(text, "doing", "at", (*around, *sorted(acts))) if len(around) == 1 else None

    def wears(self) -> Question | None:
        found = self.only()
        if found is None:
            return None
        way, who = found
        item = self.pick(["hat", "cap", "helmet", "backpack", "bag", "umbrella", "skirt", "shorts"])
        look = who.look()
        worn = {*look["accessories"], *look["carrying"], (look["lower"] or {}).get("type")}
        near = {"hat": {"cap"}, "cap": {"hat"}, "bag": {"backpack", "suitcase"}, "backpack": {"bag"}}.get(
            item, set()
        )
        if item not in worn and near & worn:
            return None
        thing = f"{'an' if item[0] == 'u' else 'a'} {item}" if item != "shorts" else item
        verb = "carrying" if item in ("backpack", "bag", "umbrella") else "wearing"
        text = self.say(("Is the person who {x} {v} {i}?",), ("Would you say the individual who {x} is {v} {i}?",),
                        x=self.way(way, 1), v=verb, i=thing)  # fmt: skip
        return Question(text, "yes-no", "wears", ("yes" if item in worn else "no",))

    # -- questions without one -----------------------------------------------------------------------------------

    def unknown(self) -> list[Callable[[], Question | None]]:
        return [self.name, self.speech, self.motive, self.hidden, self.elsewhen, self.nobody, self.nothing,
                self.outside, self.other_clothes]  # fmt: skip

    def open(
        self, topic: str, kinds: Sequence[str], a: Sequence[str], b: Sequence[str], **more: Any
    ) -> Question:
        # Templates and kinds stand side by side, so one number chooses both.
        options = a if self.family == "A" else b
        i = int(self.rng.integers(len(options)))
        return Question(
            options[i].format(n=self.who(), **more), kinds[i] if i < len(kinds) else "open", topic
        )

    def name(self) -> Question:
        return self.open("identity", ("open", "open", "open", "yes-no"),
                         ("What is the name of the {n}?", "How old is the {n}?", "What is the job of the {n}?", "Is the {n} married?"),
                         ("What is the {n} called?", "In which year was the {n} born?", "What does the {n} do for a living?", "Does the {n} speak Spanish?"))  # fmt: skip

    def speech(self) -> Question:
        return self.open("sound", ("open", "open", "yes-no", "open"),
                         ("What does the {n} say?", "What sound can be heard?", "Does the {n} shout for help?", "Which language is spoken?"),
                         ("Which words does the {n} utter?", "What is the {n} talking about?", "Is there any music in the background?", "What did the {n} whisper?"))  # fmt: skip

    def motive(self) -> Question:
        return self.open("mind", ("open", "open", "yes-no", "open"),
                         ("What is the {n} thinking?", "What did the {n} intend to do?", "Is the {n} angry about something?", "Why did the {n} want to come here?"),
                         ("What is going through the head of the {n}?", "What was the motive of the {n}?", "Does the {n} regret anything?", "What was the {n} planning?"))  # fmt: skip

    def hidden(self) -> Question:
        return self.open("hidden", ("open", "open", "colour", "open"),
                         ("What is inside the bag?", "How cold is it?", "What colour are the eyes of the {n}?", "What is the number plate of the car?"),
                         ("Which brand are the shoes of the {n}?", "How much did the clothes of the {n} cost?", "What colour is the underwear of the {n}?",
                          "What does the message on the phone say?"))  # fmt: skip

    def elsewhen(self) -> Question:
        late = int(self.end) + int(self.rng.integers(12, 90))
        return self.open("another time", ("doing", "open", "count", "open"),
                         ("What happens at {t} seconds?", "What did the {n} do yesterday?", "How many people are there at {t} seconds?", "What will the {n} do tomorrow?"),
                         ("What is the {n} doing at second {t}?", "What took place the week before?", "At second {t}, how many persons are in view?",
                          "What happens once the recording has ended?"), t=late)  # fmt: skip

    def nobody(self) -> Question | None:
        ways = [x for x in self.ways(False) if x not in ("walking",)]
        if not ways:
            return None
        x = self.way(self.pick(ways), 1)
        return self.open("nobody does", ("colour", "when", "yes-no", "where"),
                         ("What colour is the jacket of the person who {x}?", "How long has the person who {x} been there?",
                          "Is the person who {x} wearing a hat?", "Where in the picture is the person who {x}?"),
                         ("Which colour is the top of the individual who {x}?", "At which second does the individual who {x} leave?",
                          "Would you say the individual who {x} is carrying a bag?", "On which side of the frame is the individual who {x}?"), x=x)  # fmt: skip

    def nothing(self) -> Question:
        thing = self.pick(
            (
                "helicopter",
                "horse",
                "tractor",
                "piano",
                "fountain",
                "giraffe",
                "boat",
                "snowman",
                "drone",
                "cow",
            )
        )
        return self.open("not there", ("colour", "where", "count", "open"),
                         ("What colour is the {x}?", "Where is the {x}?", "How many people sit on the {x}?", "What does the {x} do?"),
                         ("Which colour is the {x}?", "On which side of the frame is the {x}?", "What is the number of people beside the {x}?", "Who owns the {x}?"), x=thing)  # fmt: skip

    def outside(self) -> Question:
        return self.open("outside", ("open", "open", "open", "count"),
                         ("What is behind the camera?", "Who called the police?", "Where does the {n} live?", "How many children does the {n} have?"),
                         ("What lies around the corner, out of view?", "Which hospital was the {n} taken to?", "Where did the {n} come from this morning?",
                          "How many siblings has the {n} got?"))  # fmt: skip

    def other_clothes(self) -> Question | None:
        taken = {p.look()[k]["color"] for p in self.any.values() for k in ("upper", "lower") if p.look()[k]}
        free = [c for c in ("purple", "pink", "orange", "yellow", "green", "red", "brown") if c not in taken]
        if not free:
            return None
        kind = self.garment(str(self.pick(("jacket", "shirt", "sweater", "coat"))))
        return self.open("nobody wears", ("doing", "where", "garment", "yes-no"),
                         ("What is the person in the {c} {k} doing?", "Where in the picture is the person in the {c} {k}?",
                          "What does the person in the {c} {k} wear on the legs?", "Does the person in the {c} {k} run?"),
                         ("What is the individual clad in the {c} {k} up to?", "On which side of the frame is the one in the {c} {k}?",
                          "Which garment is the individual clad in the {c} {k} wearing below the waist?", "Can the individual in the {c} {k} be seen sprinting?"),
                         c=self.pick(free), k=kind)  # fmt: skip
