"""What the language detectors share: a model by its address, answers that are not in the form asked for."""

from __future__ import annotations

from operator import attrgetter

import pytest

from oddwatch.core import UNKNOWN, InputError
from oddwatch.detectors.video.anomalyruler import AnomalyRuler
from oddwatch.detectors.video.asking import read_all
from oddwatch.detectors.video.lavad import LAVAD
from oddwatch.detectors.video.trlc import TRLC
from oddwatch.detectors.video.vera import VERA
from oddwatch.language import grammars
from oddwatch.language.asking import Request
from oddwatch.language.scripted import ScriptedModel
from oddwatch.language.server import ServerModel


@pytest.mark.parametrize("kind", [LAVAD, VERA, TRLC, AnomalyRuler])
def test_a_model_may_be_named_by_its_address(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chat = kind(chat="http://127.0.0.1:9/v1").chat
    assert isinstance(chat, ServerModel) and chat.url == "http://127.0.0.1:9/v1" and chat.cache is not None
    with pytest.raises(InputError, match="chat"):
        kind(chat=3)
    with pytest.raises(InputError, match="URL"):
        kind(chat="nowhere")


def test_only_what_cannot_be_read_is_asked_again():
    chat = ScriptedModel(["Output: 1", "Hm.", "Output: 2", {"reasoning": "r", "output": 0}, "no"], repairs=0)
    requests = [Request(name) for name in "abc"]
    found = read_all(chat, requests, grammars.digit_after, grammars.Verdict, attrgetter("output"))
    assert [value for value, _ in found] == [1, 0, UNKNOWN]
    assert [text for _, text in found] == ["Output: 1", '{"reasoning": "r", "output": 0}', "Output: 2"]
    assert [q.text[0] for q in chat.history] == ["a", "b", "c", "b", "c"]
    assert "output" in chat.history[3].text and chat.history[3].schema is not None
    assert read_all(chat, [], grammars.digit_after, grammars.Verdict, attrgetter("output")) == []
