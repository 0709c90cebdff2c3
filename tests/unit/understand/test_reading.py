"""Questions are read: the kind of answer, the time named, and what no picture shows."""

from __future__ import annotations

import pytest

from oddwatch.core import Span
from oddwatch.understand.reading import read

CLIP = Span(0, 20)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Does anybody fall?", "yes-no"),
        ("Isn't there somebody in red?", "yes-no"),
        ("Could you tell me whether somebody runs?", "yes-no"),
        ("somebody falls?", "yes-no"),
        ("How many people are there at 3 seconds?", "count"),
        ("What is the number of persons who fall?", "count"),
        ("How long does somebody lie on the ground?", "long"),
        ("For how many seconds is he lying?", "long"),
        ("When does somebody fall?", "when"),
        ("At which second does a person fall?", "when"),
        ("What colour is the jacket of the person who falls?", "colour"),
        ("Is it day or night?", "light"),
        ("Where was this filmed?", "place"),
        ("Where in the picture is the person who falls?", "where"),
        ("On which side of the frame is she?", "where"),
        ("What does the person who falls wear on the legs?", "garment"),
        ("What is the man carrying?", "carried"),
        ("What happens at 8 seconds?", "doing"),
        ("Why does the person fall?", "why"),
        ("How severe is it?", "severity"),
        ("Who falls?", "who"),
        ("In which direction does the person run?", "direction"),
        ("What about the weather?", "open"),
    ],
)
def test_kinds(question, kind):
    assert read(question, CLIP).kind == kind


@pytest.mark.parametrize(
    ("question", "within"),
    [
        ("What happens at 8 seconds?", (8, 8)),
        ("What happens at second 8?", (8, 8)),
        ("8.5 s in, what does the man do?", (8.5, 8.5)),
        ("What happens at 1:05?", (65, 65)),
        ("What happens 2 minutes into the clip?", (120, 120)),
        ("Does anybody run between 3 and 5 s?", (3, 5)),
        ("Does anybody run from 5 to 3 seconds?", (3, 5)),
        ("Does anybody run in the first 4 seconds?", (0, 4)),
        ("Does anybody run in the last half of the clip?", (10, 20)),
        ("What happens at the end of the clip?", (19, 20)),
        ("What happens at the beginning?", (0, 1)),
    ],
)
def test_times(question, within):
    asked = read(question, CLIP)
    assert asked.within == Span(*within)
    assert not any(c.isdigit() for c in asked.words)


def test_no_time_is_none():
    assert read("Does anybody run?", CLIP).within is None


@pytest.mark.parametrize(("question", "turn"), [("What does the person who falls do after that?", "after"),
                                                ("What did the person who falls do beforehand?", "before"),
                                                ("What does the person do?", "")])  # fmt: skip
def test_before_and_after(question, turn):
    asked = read(question, CLIP)
    assert asked.turn == turn and "that" not in asked.words.split() and "beforehand" not in asked.words


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("What is the name of the man?", "who somebody is"),
        ("How old is she?", "who somebody is"),
        ("What do they say?", "what is heard"),
        ("Is there any music?", "what is heard"),
        ("What is he thinking?", "what somebody thinks or feels"),
        ("What is inside the bag?", "what is hidden"),
        ("How cold is it?", "what is hidden"),
        ("What is behind the camera?", "what is out of view"),
        ("What did he do yesterday?", "another time"),
        ("What happens once the recording has ended?", "another time"),
    ],
)
def test_topics_no_picture_shows(question, topic):
    assert read(question, CLIP).blind == topic


@pytest.mark.parametrize("question", ["Does anybody talk?", "Is somebody crouching behind a car?", "What does the person do before that?",
                                      "Would you say that somebody falls?", "How long does the person lie there?"])  # fmt: skip
def test_what_pictures_show_is_not_refused(question):
    assert read(question, CLIP).blind == ""
