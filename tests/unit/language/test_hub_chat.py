"""transformers chat models in process, on tiny random ones made here: they run, see and obey limits; they know nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from oddwatch.core import UNKNOWN, InputError, LimitError, ModelError
from oddwatch.language.chat import connect
from oddwatch.language.parsing import YesNo

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Match(BaseModel):
    match: float
    why: str


pytestmark = pytest.mark.slow


def tokenizer():
    transformers = pytest.importorskip("transformers", reason="extra torch")
    from tokenizers import Tokenizer, decoders, models
    from tokenizers.pre_tokenizers import ByteLevel

    made = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    words.add_special_tokens({"additional_special_tokens": SPECIAL})
    words.add_tokens(["yes", "no"])
    words.chat_template = TEMPLATE
    return words


@pytest.fixture(scope="module")
def seeing(tmp_path_factory) -> Path:
    torch = pytest.importorskip("torch", reason="extra torch")
    import transformers

    folder, words = tmp_path_factory.mktemp("vl"), tokenizer()
    number = dict(zip(SPECIAL, words.convert_tokens_to_ids(SPECIAL), strict=True))
    config = transformers.Qwen2VLConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": number["<|endoftext|>"],
            "eos_token_id": number["<|im_end|>"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        },
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2},
        image_token_id=number["<|image_pad|>"], video_token_id=number["<|endoftext|>"],
        vision_start_token_id=number["<|vision_start|>"], vision_end_token_id=number["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    transformers.Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(seeing):
    return connect(str(seeing), max_tokens=6, context=600, device="cpu")


def red(shade: int) -> np.ndarray:
    return np.full((80, 60, 3), (shade, 0, 0), np.uint8)


def test_a_picture_takes_the_tokens_of_its_grid(model):
    assert model.sees is True
    bare = model.ask("what?")
    one = model.ask("what?", [red(9)])
    two = model.ask("what?", [red(9), red(200)])
    # 80 × 60 pixels become 84 × 56: 6 × 4 patches of 14, merged 2 × 2; and two marks around them.
    assert one.usage.prompt_tokens - bare.usage.prompt_tokens == 6 + 2
    assert two.usage.prompt_tokens - bare.usage.prompt_tokens == 2 * (6 + 2)
    assert 1 <= one.usage.answer_tokens <= 6


def test_greedy_answers_repeat_and_pictures_matter(model):
    first, again = (model.ask("x", [red(9)], YesNo) for _ in range(2))
    assert first.yes == again.yes and 0 < first.yes < 1 and first.raw == again.raw
    assert model.ask("x", [red(250)], YesNo).yes != first.yes


def test_a_random_model_answers_unknown_not_an_error(model):
    answer = model.ask("fill", [red(9)], Match)
    assert answer.parsed is UNKNOWN and answer.outcome == "unusable" and answer.usage.calls == 2


def test_limits(model, seeing):
    with pytest.raises(LimitError, match="tokens"):
        model.ask("x" * 3000)
    with pytest.raises(InputError, match="picture token"):
        model.ask("<|image_pad|>", [red(1)])
    hurried = connect(str(seeing), max_tokens=6, timeout=1e-9)
    assert hurried.ask("x").outcome == "failed"


def test_a_text_model_reads_only(tmp_path):
    torch = pytest.importorskip("torch", reason="extra torch")
    import transformers

    words = tokenizer()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot load"):
        connect(str(tmp_path))
    words.save_pretrained(tmp_path)
    model = connect(str(tmp_path), max_tokens=4)
    assert model.ask("x").usage.answer_tokens >= 1 and model.id.startswith("llama-")
    assert model.sees is False
    with pytest.raises(InputError, match="text only"):
        model.ask("x", [red(1)])
