"""Captions of frames: a chat model's one line, the describer's sentences."""

from __future__ import annotations

import numpy as np

from oddwatch.core import Box, Frame, Person
from oddwatch.detectors.video.captions import ChatCaptioner, DescriberCaptioner
from oddwatch.language.scripted import ScriptedModel

FRAME = Frame(np.full((80, 60, 3), 90, np.uint8), time=0.0)


def test_a_chat_model_says_a_frame_in_one_line():
    chat = ScriptedModel(["One person\n is walking. ", "  "], repairs=0)
    captioner = ChatCaptioner(chat)
    assert captioner(FRAME, []) == "One person is walking."
    assert captioner(FRAME, []) == ""
    assert len(chat.history[0].images) == 1
    assert captioner.id.startswith("scripted caption@")


def test_the_describer_counts_people_and_tells_of_the_largest():
    captioner = DescriberCaptioner(most=1)
    assert captioner(FRAME, []) == "There are no people in the image."
    small, large = Person(Box(2, 40, 10, 70)), Person(Box(20, 5, 45, 75))
    text = captioner(FRAME, [small, large])
    one = captioner(FRAME, [large])
    assert text.startswith("There are two people in the image. A ")
    assert one.startswith("There is one person in the image. A ")
    assert text.count(".") == 2
    assert captioner(FRAME, [large] * 12).startswith("There are 12 people")
    both = DescriberCaptioner(captioner.describer)(FRAME, [small, large])
    assert both.count(".") == 3
