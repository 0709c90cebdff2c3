"""Free questions about a record made by hand: each kind answered with evidence, the rest unknown with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, InputError, Span
from oddwatch.understand.ask import LONGEST, ask
from oddwatch.understand.record import Record

from .conftest import spell


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("Does anybody fall?", True),
        ("Is anyone running?", True),
        ("Does anybody climb over a fence?", False),
        ("Does somebody in a green coat stand?", True),
        ("Does anybody fall in the first 4 seconds?", False),
        ("Is the person in the red jacket lying on the ground?", True),
        ("Is the person in the green coat running?", False),
        ("Is the person who falls wearing a cap?", False),
        ("Is the person who runs wearing a cap?", True),
        ("Is the person in the green coat carrying a backpack?", True),
        ("Does anything unusual happen?", True),
        ("Is there anybody?", True),
        ("How many people fall?", 1),
        ("How many people are there at 1 second?", 2),
        ("How many people are there at 5 seconds?", 3),
        ("How many people are there?", 3),
        ("How long does somebody lie on the ground?", 11.0),
        ("When does somebody fall?", [8]),
        ("When does the person in the blue shirt leave the picture?", [12]),
        ("What colour is the jacket of the person who falls?", "red"),
        ("What colour are the trousers of the person who runs?", "black"),
        ("What does the person who falls wear on the legs?", "jeans"),
        ("What is the person in the green coat carrying?", "backpack"),
        ("Where in the picture is the person who falls?", "left"),
        ("In which part of the picture is the person in the green coat: left, middle or right?", "right"),
        ("What does the person who falls do before that?", "walking"),
        ("What does the person who falls do after that?", "lying"),
        ("What is the person in the blue shirt doing at 3 seconds?", "standing"),
        ("What happens at 8.5 seconds?", "falling"),
        ("Is it day or night?", "night"),
        ("Who falls?", "track 1"),
        ("In which direction does the person in the blue shirt go?", "right"),
    ],
)
def test_answers(clip, question, value):
    told = ask(clip, question)
    assert told.known, told.text
    assert told.value == value


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("What is the name of the person who falls?", "who somebody is"),
        ("What does the person who falls say?", "heard"),
        ("What happens at 95 seconds?", "outside"),
        ("What colour is the jacket of the person who climbs over a fence?", "Nobody"),
        ("What is the person in the purple sweater doing?", "Nobody"),
        ("Is the person in the purple sweater running?", "Nobody"),
        ("What colour is the helicopter?", "helicopter"),
        ("Where is the giraffe?", "giraffe"),
        ("Is there a giraffe?", "giraffe"),
        ("How many people sit on the giraffe?", "giraffe"),
        ("What colour is the jacket of the person?", "several"),
        ("What colour is the car?", "No colours"),
        ("Where was this filmed?", "could not be told"),
        ("El hombre con la chaqueta roja corre?", "another language"),
        ("What about it?", "no question"),
    ],
)
def test_unknown_with_the_reason(clip, question, says):
    told = ask(clip, question)
    assert told.value is UNKNOWN and not told.known and says.lower() in told.text.lower()
    assert told.to_json()["value"] is None


def test_answers_name_when_and_where(clip):
    told = ask(clip, "Does anybody fall?")
    proof = told.proof[0]
    assert (proof.track, proof.time) == (1, 8.5) and proof.box is not None
    assert told.probability == pytest.approx(0.9)
    colour = ask(clip, "What colour is the jacket of the person who falls?")
    assert colour.proof[0].box is not None and colour.proof[0].box.as_list() == [100, 100, 120, 130]


def test_a_thing_nobody_looks_for_is_implied_only_by_what_needs_it(clip):
    one = clip.person(2)
    rides = replace(clip, people=(replace(one, spells=(spell("posture.riding", 0, 12, one.steps),)),))
    assert ask(rides, "Is anyone riding a bicycle?").value is True
    assert not ask(clip, "Does anybody run with a dog?").known


def test_a_faint_doing_says_who_but_not_whether(clip):
    one = clip.person(3)
    faint = replace(
        clip,
        people=(
            *clip.people[:2],
            replace(one, spells=(*one.spells, spell("posture.bending", 8, 9, one.steps, 0.32))),
        ),
    )
    assert ask(faint, "What colour is the coat of the person who bends down?").value == "green"
    assert not ask(faint, "Does anybody bend down?").known


def test_nobody_seen():
    empty = Record("empty.mp4", Span(0, 5), (640, 360), times=np.arange(5.0), counts=np.zeros(5, int))
    assert ask(empty, "Does anybody fall?").value is False
    assert ask(empty, "How many people are there at 2 seconds?").value == 0
    assert not ask(empty, "When does somebody fall?").known
    assert not ask(empty, "What colour is the jacket of the man?").known


@pytest.mark.parametrize("question", ["", "  ", "x" * (LONGEST + 1)])
def test_no_question(clip, question):
    with pytest.raises(InputError):
        ask(clip, question)


def test_any_text_gets_an_answer_or_unknown(clip):
    rng = np.random.default_rng(4)
    words = ["what", "who", "is", "the", "a", "person", "in", "red", "does", "fall", "before", "after", "at", "5", "seconds", "how", "many", "colour", "where", "of", "not", "?", ",", ";", "'x", "éß", "wearing", "it", "there", "99:99", "second", "-1", "when", "left"]  # fmt: skip
    for _ in range(400):
        text = " ".join(rng.choice(words, int(rng.integers(1, 9))))
        told = ask(clip, text)
        assert told.text and told.known == (told.value is not UNKNOWN)
