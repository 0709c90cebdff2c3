"""VERA: worked numbers of the refining, verdicts, learning questions with a scripted model, words without one."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.core import UNKNOWN, InputError
from oddwatch.detectors.kept import read
from oddwatch.detectors.video.notes import Notes
from oddwatch.detectors.video.vera import SEEDS, VERA, alike, refined, telling_words
from oddwatch.language.scripted import FunctionModel, ScriptedModel
from oddwatch.scoring.curves import position_weight


def watched(captions, every=16, name="clip", fps=30.0, cls=None):
    n = len(captions) * every
    return Notes(
        name, (36, 64), np.arange(n) / fps, looked=np.arange(0, n, every), captions=tuple(captions),
        cls=np.zeros((0, 0), np.float16) if cls is None else cls.astype(np.float16),
    )  # fmt: skip


@pytest.mark.parametrize(("count", "n"), [(4, 0), (6, 0), (7, 1), (13, 1), (14, 2), (20, 3), (100, 15)])
def test_how_many_segments_are_alike(count, n):
    assert alike(count, 0.15) == (n or 1)
    assert alike(count, 0.15, compat=True) == (n or count)


def test_neighbours_of_toy_b():
    """Vectors whose cosines are those of toy B, of which 2 and 3 of 3 segments are taken."""
    vectors = np.linalg.cholesky([[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]])
    for share, track in ((0.7, (0.731059, 0.268941, 0)), (1.0, (0.730879, 0.268762, 0.000335))):
        got = refined([1, 0, 0], vectors, 3, stride=1, share=share, width=1, center=False)
        np.testing.assert_allclose(got, np.round(track, 1), atol=1e-9)


def test_all_normal_stays_zero_and_all_anomalous_takes_the_weight():
    total = 40 * 16
    np.testing.assert_array_equal(refined(np.zeros(40), np.ones((40, 2)), total), 0)
    got = refined(np.ones(40), np.ones((40, 2)), total)
    weight = position_weight(total)
    middle = slice(total // 2 - 100, total // 2 + 100)
    np.testing.assert_allclose(got[middle], weight[middle])
    assert got[0] == pytest.approx(0.303265, abs=1e-6)
    assert refined(np.ones(40), None, total, center=False)[0] == 0.5
    assert refined(np.ones(2), None, 20).shape == (20,)


def answering(text_of_one="running"):
    """A model that says 1 where the shown captions hold a word that a question names."""

    def answer(question):
        shown, _, questions = question.text.partition("Guiding questions:")
        words = [w for w in ("running", "smoke", "walking") if w in questions and w in shown]
        return f"Something.\nOutput: {int(bool(words))}"

    return answer


def test_the_chain_with_a_model_gives_the_exact_track():
    captions = ["walking"] * 20 + ["running"] * 20
    detector = VERA(
        questions=("Is anyone running?",),
        chat=FunctionModel(answering()),
        seconds=16 / 30,
        frames=1,
        share=0.01,
    )
    cls = np.repeat([[1.0, 0], [0, 1]], 20, 0)
    notes = watched(captions, cls=cls)
    expected = refined([0] * 20 + [1] * 20, cls, len(notes), share=0.01)
    curve = detector.curve(notes)
    np.testing.assert_allclose(curve.values, expected)
    assert curve.values[30 * 16] > 0.7 > 0.1 > curve.values[5 * 16]
    told = detector.told(notes)
    assert [t.score for t in told] == [0.0] * 20 + [1.0] * 20
    assert "Output: 1" in told[-1].text and told[1].span.start == pytest.approx(16 / 30)


def test_pictures_are_shown_where_the_model_sees():
    frames = [np.full((4, 4, 3), i, np.uint8) for i in range(32)]
    chat = FunctionModel(lambda q: f"Output: {int(any(p[0, 0, 0] >= 16 for p in q.images))}")
    detector = VERA(
        chat=chat, pictures=lambda notes, at: [frames[i] for i in at], seconds=0.1, width=1, center=False
    )
    notes = Notes("clip", (4, 4), np.arange(32) / 30, looked=np.arange(32))
    np.testing.assert_array_equal(detector.curve(notes).values, [0] * 16 + [1] * 16)
    assert "Frames" not in chat.history[0].text and "attached: frame 1" in chat.history[0].text


def test_no_verdict_counts_as_anomalous_and_compat_reads_as_released():
    for compat, said, verdict in ((False, "yes", 1), (False, "Output: 10", 1), (True, "Output: 10", 0)):
        detector = VERA(chat=FunctionModel(lambda q, said=said: said), compat=compat)
        assert detector.told(watched(["walking"] * 3))[0].score == verdict
    # A form is filled in where the line was not written.
    forms = VERA(chat=FunctionModel(lambda q: "no" if q.schema is None else {"reasoning": "", "output": 0}))
    assert forms.told(watched(["walking"] * 3))[0].score == 0
    silent = VERA(chat=FunctionModel(lambda q: " "))
    assert silent.told(watched(["walking"]))[0].score is UNKNOWN


CLIPS = [watched(["running"] * 8, name="odd"), watched(["walking"] * 8, name="quiet")]


def test_questions_change_when_the_script_says_so_and_the_best_are_kept():
    verdict = {"right": ["Output: 1", "Output: 0"], "wrong": ["Output: 0", "Output: 1"]}
    seven = "Reasoning:\nmore\nNew questions:\n" + "\n".join(f"{i}. Good {i}?" for i in range(1, 8))
    worse = "Reasoning:\nfewer\nNew questions:\n1. Bad?"
    chat = ScriptedModel(
        [
            *verdict["wrong"],  # the seeds are tried
            *verdict["wrong"], seven,  # first batch: new questions
            *verdict["right"],  # they are tried
            *verdict["wrong"], worse,  # second batch
            *verdict["wrong"],  # tried: worse
            *verdict["wrong"], "All is well.",  # third batch: without the marker they stay
        ]
    )  # fmt: skip
    detector = VERA(chat=chat, every=1, epochs=3)
    # The clips are in the order that the seed draws; equal verdicts for both orders.
    order = np.random.default_rng(0).permutation(2)
    clips = [CLIPS[i] for i in np.argsort(order)]
    labels = [1 - int(i) for i in np.argsort(order)]
    detector.fit(clips, labels)
    learners = [q.text for q in chat.history if "Guiding questions" in q.text]
    assert all(SEEDS[0] in text for text in learners[:4])
    assert '5. "Good 5?"' in learners[4] and "Good 6?" not in learners[4]
    assert "Bad?" in learners[8] and "Bad?" in learners[-1]
    assert detector.asked == tuple(f"Good {i}?" for i in range(1, 6))


def test_a_model_learns_what_tells_clips_apart(tmp_path):
    def answer(question):
        if "You are the optimiser" in question.messages[0].text:
            return "Reasoning:\nthey run\nNew questions:\n- Is anyone running?"
        return answering()(question)

    clips = [watched(["running" if i % 2 else "walking"] * 8, name=str(i)) for i in range(12)]
    detector = VERA(chat=FunctionModel(answer), epochs=1).fit(clips, [i % 2 for i in range(12)])
    assert detector.asked == ("Is anyone running?",)
    detector.save(tmp_path)
    kept = read(tmp_path)
    again = VERA(**kept.arguments)
    again.restore(kept.arrays)
    assert again.asked == detector.asked and again.questions == SEEDS and again.chat is None


def test_without_a_model_words_are_learnt():
    clips = [
        ["a man is running", "a van"],
        ["a man is walking"],
        ["a fire", "a man is jumping"],
        ["walking, a van"],
    ]
    assert telling_words(clips, [1, 0, 1, 0], 5) == ("jumping", "running")
    assert telling_words(clips, [1, 0, 1, 0], 1) == ("jumping",)
    with pytest.raises(InputError, match="labels"):
        telling_words(clips, [1, 1, 1, 1], 5)
    detector = VERA().fit(CLIPS, [1, 0])
    assert detector.words == ("running",)
    assert detector.score([watched(["running"] * 20), watched(["walking"] * 20)]).values.tolist() == [
        1.0,
        0.0,
    ]


def test_unfitted_and_without_a_model_the_taxonomy_speaks():
    told = VERA(seconds=0.1).told(watched(["two men are fighting", "two men are talking"]))
    assert [(t.score, t.text) for t in told] == [(1.0, "fighting"), (0.0, "nothing")]


def test_arguments_are_checked():
    with pytest.raises(InputError, match="questions"):
        VERA(questions=())
    with pytest.raises(InputError, match="share"):
        VERA(share=0)
    with pytest.raises(InputError, match="stride"):
        VERA(stride=0)
    with pytest.raises(InputError, match="labels"):
        VERA().fit(CLIPS)
    with pytest.raises(InputError, match="captions"):
        VERA().curve(Notes("clip", (2, 2), np.arange(3.0), looked=np.arange(3)))
    with pytest.raises(InputError, match="looked"):
        VERA().curve(Notes("clip", (2, 2), np.arange(3.0)))
