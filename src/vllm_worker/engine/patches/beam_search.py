"""vLLM's own beam search, in its serving objects, gives way to the worker's."""

from collections.abc import Callable
from typing import Any


def install(app_state: Any, search: Callable[..., Any]) -> None:
    """Have chats and completions, if the model has them, search with `search`."""
    for name in ("openai_serving_chat", "openai_serving_completion"):
        if serving := getattr(app_state, name, None):
            serving.beam_search = search
