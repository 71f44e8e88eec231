"""Which of the words is the model."""

import pytest

from vllm_worker.client.commands.chat import model_and_text
from vllm_worker.client.errors import ClientError


def served() -> list[str]:
    return ["demo", "org/model"]


@pytest.mark.parametrize(
    ("words", "model", "found"),
    [
        ([], None, (None, None)),
        (["demo"], None, ("demo", None)),
        (["org/model"], None, ("org/model", None)),
        (["summarise"], None, (None, "summarise")),
        (["What is it?"], None, (None, "What is it?")),
        (["demo"], "org/model", ("org/model", "demo")),
        (["other", "text"], None, ("other", "text")),
    ],
)
def test_a_word_is_a_model_if_it_is_served(
    words: list[str], model: str | None, found: tuple[str | None, str | None]
) -> None:
    assert model_and_text(words, model, served) == found


def test_a_text_without_quotes_is_refused() -> None:
    with pytest.raises(ClientError, match="put TEXT in quotes"):
        model_and_text(["what", "is", "it"], None, served)
