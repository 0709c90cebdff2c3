"""Chat models for text and pictures, versioned prompts, answers with a schema, cache and budget; loaded by name.

What a model says is untrusted text: it is checked against a schema, never run, never taken for an instruction, and to be
escaped wherever it is shown. What it cannot say is UNKNOWN.
"""

from __future__ import annotations

from typing import Any

from oddwatch.core import Card, resolve

CHAT_MODELS: dict[str, str] = {
    "server": "oddwatch.language.server:ServerModel",
    "llama.cpp": "oddwatch.language.llamacpp:LlamaCppModel",
    "hub-chat": "oddwatch.language.hub:HubChatModel",
    "scripted": "oddwatch.language.scripted:ScriptedModel",
}
"""Name → ``"module:class"``; nothing is imported until it is loaded."""

CARDS: dict[str, Card] = {
    "server": Card(
        "server", "chat model", "text-image",
        "Any OpenAI-compatible server (vLLM, Ollama, llama.cpp, hosted) by URL; pictures where its model sees",
        needs=("a server",),
        verified=("R",),
    ),
    "llama.cpp": Card(
        "llama.cpp", "chat model", "text-image",
        "A GGUF model in this process; pictures with its projector file",
        needs=("extra llm", "weights by path"),
        verified=("R",),
    ),
    "hub-chat": Card(
        "hub-chat", "chat model", "text-image",
        "A transformers model in this process, Qwen-VL class with pictures or text only",
        needs=("extra torch", "weights by path"),
        verified=("R",),
    ),
    "scripted": Card(
        "scripted", "chat model", "text-image",
        "Prepared replies, for tests and simulations",
        verified=("R",),
    ),
}  # fmt: skip


def load(name: str, *arguments: Any, **options: Any) -> Any:
    """The chat model ``name`` of the table, built with the given arguments.

    Raises:
        InputError: no such name.
        MissingExtra: it needs an extra that is not installed.
    """
    return resolve(CHAT_MODELS, name, "chat model")(*arguments, **options)
