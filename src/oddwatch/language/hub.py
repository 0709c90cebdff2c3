"""Chat models through transformers in this process (the ``[torch]`` extra): Qwen-VL class, or text only.

Pictures go in as the Qwen-VL family takes them (Wang et al., Qwen2-VL, 2024): an image token in the chat template,
repeated once for every merged patch of the picture's grid. This is done here, because the library's own processor wants
torchvision for videos that nobody asked for. Other families: serve them, and name the URL.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oddwatch.core import InputError, LimitError, ModelError, require
from oddwatch.language import wire
from oddwatch.language.asking import Chat, NoReply, Question, Reply
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache
from oddwatch.language.pictures import Picture, PictureLimits, pixels_of

YES_NO_TOKENS = ("yes", "Yes", "YES", " yes", " Yes", "no", "No", "NO", " no", " No")


def fingerprint(folder: Path) -> str:
    """Twelve hex digits over weights, settings and tokenizer in ``folder``: sizes, first and last MiB."""
    total = hashlib.blake2b(digest_size=6)
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.jinja")]):
        with file.open("rb") as data:
            size = file.stat().st_size
            total.update(f"{file.name} {size}".encode() + data.read(1 << 20))
            data.seek(max(size - (1 << 20), 0))
            total.update(data.read())
    return total.hexdigest()


class HubChatModel(Chat):
    """A model in a folder: safetensors, tokenizer, chat template. Only safetensors are read, no code of the folder runs.

    ``timeout`` stops generating; greedy decoding; ``max_tokens`` of answer, ``context`` tokens of question.

    Raises:
        ModelError: no such folder, or one that transformers cannot load as a chat model.
        MissingExtra: torch or transformers is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        context: int = 8192,
        timeout: float = 120.0,
        max_tokens: int = 256,
        repairs: int = 1,
        pictures: PictureLimits | None = None,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(timeout=timeout, parallel=1, repairs=repairs, cache=cache, budget=budget)
        self.folder, self.context, self.max_tokens = Path(folder), context, max_tokens
        self.pictures = pictures or PictureLimits()
        if not self.folder.is_dir() or not any(self.folder.glob("*.safetensors")):
            raise ModelError(f"{self.folder}: expected a folder with a model's safetensors")
        self._torch = require("torch", for_="a chat model in this process", extra="torch")
        self._library = require("transformers", for_="a chat model in this process", extra="torch")
        self.device = self._device(device)
        self._load(dtype)
        self._id = f"{self._net.config.model_type}-{fingerprint(self.folder)};{max_tokens};{dtype}"
        self._takes = set(inspect.signature(self._net.forward).parameters)

    @property
    def id(self) -> str:
        return f"{self._id};{self.pictures.long_side}"

    @property
    def sees(self) -> bool:
        return self._eyes is not None

    def _device(self, device: str) -> str:
        there = bool(self._torch.cuda.is_available())
        if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not there):
            raise InputError("device", f"expected auto, cpu or a cuda that is there, got {device!r}")
        return "cuda" if there and device != "cpu" else "cpu"

    def _load(self, dtype: str) -> None:
        auto = self._library
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = auto.AutoConfig.from_pretrained(self.folder, **options)
            self._sees = hasattr(config, "vision_config")
            kind = auto.AutoModelForImageTextToText if self._sees else auto.AutoModelForCausalLM
            net = kind.from_pretrained(self.folder, use_safetensors=True, dtype=dtype, **options)
            self._words = auto.AutoTokenizer.from_pretrained(self.folder, **options)
            self._eyes: Any = (
                auto.AutoImageProcessor.from_pretrained(self.folder, **options) if self._sees else None
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{self.folder}: transformers cannot load this chat model: {error}") from error
        if not self._words.chat_template:
            raise ModelError(
                f"{self.folder}: the tokenizer has no chat template",
            )
        if self._sees and not (hasattr(config, "image_token_id") and hasattr(self._eyes, "merge_size")):
            raise ModelError(
                f"{self.folder}: {config.model_type} is not of the Qwen-VL class; serve it and name its URL"
            )
        self._net = net.to(self.device).eval()

    def reply(self, question: Question) -> Reply:
        torch = self._torch
        left = question.deadline - time.monotonic()
        if left <= 0:
            raise NoReply(f"{self.folder.name}: no time left")
        given = self._inputs(question)
        length = int(given["input_ids"].shape[1])
        if length > self.context:
            raise LimitError(
                "prompt", f"{length} tokens, at most {self.context}", "fewer or smaller pictures"
            )
        with torch.inference_mode():
            made = self._net.generate(
                **given,
                max_new_tokens=self.max_tokens,
                max_time=None if left == float("inf") else left,
                do_sample=False,
                num_beams=1,
                return_dict_in_generate=True,
                output_logits=question.yes_no,
                pad_token_id=self._words.pad_token_id,
            )
        said = made.sequences[0][length:]
        text = self._words.decode(said, skip_special_tokens=True)
        yes = self._yes(made.logits[0][0]) if question.yes_no and made.logits else None
        return Reply(text, length, int(said.shape[0]), yes)

    def _inputs(self, question: Question) -> dict[str, Any]:
        shown, turns = list(question.images), []
        for message in question.messages:
            content: Any = message.text
            if message.role == "user" and shown:
                content = [{"type": "image"} for _ in shown] + [{"type": "text", "text": message.text}]
                shown = []
            turns.append({"role": message.role, "content": content})
        text = self._words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        seen = self._pictures(question.images)
        text = self._spread(text, seen.get("image_grid_thw"), len(question.images))
        given = dict(self._words(text, return_tensors="pt", add_special_tokens=False)) | seen
        given.pop("token_type_ids", None)
        if "mm_token_type_ids" in self._takes and self._sees:
            given["mm_token_type_ids"] = (given["input_ids"] == self._net.config.image_token_id).int()
        return {name: value.to(self.device) for name, value in given.items()}

    def _pictures(self, images: Sequence[Picture]) -> dict[str, Any]:
        if not images:
            return {}
        if self._eyes is None:
            raise InputError("images", f"{self.folder.name} reads text only")
        if len(images) > self.pictures.most:
            raise LimitError("images", f"at most {self.pictures.most} pictures, got {len(images)}")
        from PIL import Image

        shrunk = []
        for image in images:
            picture = Image.fromarray(pixels_of(image))
            picture.thumbnail((self.pictures.long_side, self.pictures.long_side))
            shrunk.append(picture)
        return dict(self._eyes(images=shrunk, return_tensors="pt"))

    def _spread(self, text: str, grids: Any, images: int) -> str:
        """``text`` with each picture's token as often as its grid has merged patches."""
        if not self._sees:
            return text
        token = self._words.convert_ids_to_tokens(self._net.config.image_token_id)
        parts = text.split(token)
        if len(parts) != images + 1:
            raise InputError("prompt", f"expected {images} picture token(s), found {len(parts) - 1}")
        out = parts[0]
        for i, part in enumerate(parts[1:]):
            out += token * (int(grids[i].prod()) // int(self._eyes.merge_size) ** 2) + part
        return out

    def _yes(self, logits: Any) -> float | None:
        likely = self._torch.log_softmax(logits.float(), dim=-1)
        found = {}
        for word in YES_NO_TOKENS:
            ids = self._words(word, add_special_tokens=False)["input_ids"]
            if len(ids) == 1:
                found[word] = float(likely[ids[0]])
        return wire.yes_share(found)
