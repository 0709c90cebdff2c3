import json

import numpy as np
import pytest

from oddwatch.core.errors import InputError
from oddwatch.core.geometry import Box
from oddwatch.core.media import Frame, Person
from oddwatch.media.moments import MomentBuilder


def frame(time, level=100):
    draw = np.random.default_rng(round(time * 10))
    pixels = draw.integers(level, level + 20, (36, 64, 3), dtype=np.uint8)
    return Frame(pixels, "a.mp4", time, round(time * 10))


def people(n):
    return [Person(Box(5 * i, 0, 5 * i + 4, 10)) for i in range(n)]


def steps():
    counts = [0, 1, 2, 2, 1, 3, 3, 3, 5, 3, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 2, 2, 2]
    return [(frame(i / 2), people(n), [0.2 * n] * n) for i, n in enumerate(counts)]


def test_windows_on_a_grid():
    builder, moments = MomentBuilder(5.0), []
    for step in steps():
        builder.update(*step)
        moments += builder.finished()
    assert len(moments) == 2
    moments += builder.flush(11.2)
    assert [(m.span.start, m.span.end) for m in moments] == [(0, 5), (5, 10), (10, 11.2)]
    first = moments[0]
    assert (first.time, first.frame, len(first.people)) == (4.0, 40, 5)
    assert first.count == pytest.approx(np.percentile([0, 1, 2, 2, 1, 3, 3, 3, 5, 3], 90))
    assert first.motion.drop == pytest.approx(0.4) and first.motion.top_speed == pytest.approx(1.0)
    assert builder.frame(moments[-1]).time == moments[-1].time
    with pytest.raises(InputError):
        builder.frame(first)


@pytest.mark.parametrize("cut", [0, 3, 9, 10, 17])
def test_a_saved_run_goes_on_identically(cut):
    def run(at):
        builder, moments, pixels = MomentBuilder(5.0), [], []
        for i, step in enumerate(steps()):
            if i == at:
                builder = MomentBuilder.from_state(json.loads(json.dumps(builder.state())))
            builder.update(*step)
            for m in builder.finished():
                moments.append(m.to_json())
                pixels.append(builder.frame(m).pixels.tobytes())
        for m in builder.flush():
            moments.append(m.to_json())
            pixels.append(builder.frame(m).pixels.tobytes())
        return moments, pixels

    assert run(cut) == run(None)


def test_gaps_give_no_empty_moments():
    builder = MomentBuilder(5.0)
    builder.update(frame(1.0), [])
    builder.update(frame(21.0), people(1))
    moments = builder.flush()
    assert [m.span.start for m in moments] == [0, 20] and [m.count for m in moments] == [0, 1]


def test_wrong_input():
    with pytest.raises(InputError):
        MomentBuilder(0)
    builder = MomentBuilder()
    builder.update(frame(9.0), [])
    with pytest.raises(InputError, match="order"):
        builder.update(frame(1.0), [])
    with pytest.raises(InputError):
        MomentBuilder.from_state({"format": 1})
