"""JSON objects whose fields are known."""

from typing import Any

import pytest

from vllm_worker.configuration.catalogue import catalogue, options
from vllm_worker.configuration.values import problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STRUCTURED_OUTPUTS_CONFIG", "{}"),
        ("STRUCTURED_OUTPUTS_CONFIG", '{"backend": "guidance", "enable_in_reasoning": true}'),
        ("POOLER_CONFIG", '{"pooling_type": "cls", "task": null}'),  # vLLM takes it in any case
        ("SPECULATIVE_CONFIG", '{"anything": 1}'),  # vLLM's parser does not know its fields
    ],
)
def test_what_vllm_takes_is_taken(name: str, text: str) -> None:
    assert problem(catalogue()[name], text) is None


@pytest.mark.parametrize("value", [5, [], {}, "outlined"])
def test_a_choice_is_one_of_its_texts(value: Any) -> None:
    text = f'{{"backend": {value!r}}}'.replace("'", '"')
    wrong = problem(catalogue()["STRUCTURED_OUTPUTS_CONFIG"], text)
    assert wrong
    assert wrong.startswith('"backend" must be one of auto, xgrammar')


def test_another_release_knows_its_own_fields() -> None:
    variable = catalogue()["STRUCTURED_OUTPUTS_CONFIG"]
    assert problem(variable, '{"backend": "newer", "newer": 1}', choices_known=False) is None


def test_the_fields_of_many_options_are_known() -> None:
    assert sum("fields" in option for option in options().values()) > 15
