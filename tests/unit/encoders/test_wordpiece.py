"""The packaged WordPiece against known pieces, and against the reference tokenizer where it is installed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwatch.encoders import weights
from oddwatch.encoders.sentence import WordPiece


@pytest.fixture(scope="module")
def vocabulary() -> list[str]:
    return weights.path("vocabulary").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture(scope="module")
def wordpiece(vocabulary: list[str]) -> WordPiece:
    return WordPiece(vocabulary)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("A man in a RED jacket", "a man in a red jacket"),
        ("Café façade naïve", "cafe facade naive"),
        ("unaffable", "una ##ffa ##ble"),
        ("don't, stop!", "don ' t , stop !"),
        ("東京 tower", "東 京 tower"),
        ("tab\tand\nline\x00break", "tab and line ##break"),
        ("$5 a^b", "$ 5 a ^ b"),
        ("x" * 101, "[UNK]"),
        ("🙂", "[UNK]"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_pieces(wordpiece: WordPiece, vocabulary: list[str], text: str, pieces: str) -> None:
    found = [vocabulary[i] for i in wordpiece.encode(text)]
    assert found[0] == "[CLS]" and found[-1] == "[SEP]"
    if "\x00" in text:
        # A control sign is dropped, not turned into a space: the words around it join.
        assert found[1:4] == ["tab", "and", "line"] and found[4].startswith("##")
    else:
        assert found[1:-1] == pieces.split()


def test_a_text_is_cut_to_the_number_of_tokens_asked_for(wordpiece: WordPiece) -> None:
    ids = wordpiece.encode("man " * 1000)
    assert len(ids) == 256 and ids[-1] == wordpiece.last
    assert len(wordpiece.encode("man " * 10, most=5)) == 5


@given(st.text(max_size=60))
def test_any_text_gives_known_ids(text: str) -> None:
    small = WordPiece(["[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b"])
    ids = small.encode(text)
    assert ids[0] == 1 and ids[-1] == 2 and all(0 <= i < 7 for i in ids)


def test_equals_the_reference_tokenizer(wordpiece: WordPiece, vocabulary: list[str]) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the reference comes with the torch extra")
    reference = tokenizers.BertWordPieceTokenizer(
        {p: i for i, p in enumerate(vocabulary)}, lowercase=True, strip_accents=None
    )
    texts = [
        "Two people fighting near a (blue) car; one's lying down…", "Ünïcödé—dash “quotes” №5 ½",
        "Привет мир", "مرحبا", "日本語のテキスト", "한국어", "a\u200bb", "e\u0301clair", "İstanbul ẞ", "100% @home #1",
    ]  # fmt: skip
    for text in texts:
        assert wordpiece.encode(text) == reference.encode(text).ids, text
