"""What the user configures: settings, addresses, and a sentence in another language through them."""

from __future__ import annotations

import pytest

from oddwatch.core import InputError, ModelError
from oddwatch.language.asking import ChatError, NoReply
from oddwatch.language.chat import configured, connect, settings, to_english
from oddwatch.language.scripted import ScriptedModel
from oddwatch.language.server import ServerModel
from oddwatch.search.engine import understood

GERMAN = "ein Mann mit einer roten Jacke liegt auf dem Boden"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("URL", "MODEL", "KEY", "TIMEOUT"):
        monkeypatch.delenv(f"ODDWATCH_LLM_{name}", raising=False)


def test_translation_is_the_first_line_without_quotes():
    model = ScriptedModel(['"a man in a red jacket"\nand more'])
    assert to_english(GERMAN, model) == "a man in a red jacket"
    assert GERMAN in model.history[0].text


@pytest.mark.parametrize("said", ["", "  \n", NoReply("HTTP 500")])
def test_no_translation_is_one_clear_error(said):
    with pytest.raises(ChatError, match="did not translate"):
        to_english(GERMAN, ScriptedModel([said, said]))


def test_the_environment_configures(monkeypatch):
    assert configured() is None
    monkeypatch.setenv("ODDWATCH_LLM_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ODDWATCH_LLM_MODEL", "m")
    monkeypatch.setenv("ODDWATCH_LLM_KEY", "secret")
    monkeypatch.setenv("ODDWATCH_LLM_TIMEOUT", "2.5")
    model = configured()
    assert isinstance(model, ServerModel)
    assert (model.url, model.model, model.timeout) == ("http://127.0.0.1:9/v1", "m", 2.5)
    assert "secret" not in repr(settings()) + model.id
    assert (model.max_tokens, model.parallel) == (512, 4)
    monkeypatch.setenv("ODDWATCH_LLM_TOKENS", "64")
    monkeypatch.setenv("ODDWATCH_LLM_PARALLEL", "1")
    small = configured()
    assert isinstance(small, ServerModel) and (small.max_tokens, small.parallel) == (64, 1)
    assert model._client.headers["Authorization"] == "Bearer secret"


def test_the_key_of_the_environment_goes_to_its_own_server_only(monkeypatch):
    monkeypatch.setenv("ODDWATCH_LLM_URL", "https://one.example/v1")
    monkeypatch.setenv("ODDWATCH_LLM_KEY", "secret")
    other, same = connect("http://127.0.0.1:9/v1"), connect("https://one.example/v2")
    assert isinstance(other, ServerModel) and isinstance(same, ServerModel)
    assert "Authorization" not in other._client.headers and "Authorization" in same._client.headers


def test_a_wrong_setting_names_its_variable(monkeypatch):
    for name, value in (("TIMEOUT", "soon"), ("PARALLEL", "0"), ("TOKENS", "0")):
        monkeypatch.setenv(f"ODDWATCH_LLM_{name}", value)
        with pytest.raises(InputError, match=f"ODDWATCH_LLM_{name}"):
            settings()
        monkeypatch.delenv(f"ODDWATCH_LLM_{name}")


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/v1", "http://", "http://x:99999", "http://[", "nothing", "",
     "http://me:secret@x/v1", "http://x/v1?key=1"],
)  # fmt: skip
def test_only_http_addresses(url):
    with pytest.raises(InputError, match="URL"):
        connect(url)


def test_a_path_is_a_model_in_process(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"not one")
    with pytest.raises(ModelError, match="GGUF"):
        connect(str(tmp_path / "x.gguf"))
    with pytest.raises(ModelError, match="safetensors"):
        connect(str(tmp_path))


def test_another_language_goes_through_the_configured_model(chat_server, monkeypatch):
    with pytest.raises(InputError, match=r"not understood.*English"):
        understood(GERMAN)
    monkeypatch.setenv("ODDWATCH_LLM_URL", chat_server.url)
    chat_server.say("A man in a red jacket lies on the ground.")
    query = understood(GERMAN)
    assert query.language == "de"
    assert {"upper.color.red", "posture.lying"} <= {a for s in query.slots for a in s.atoms}
