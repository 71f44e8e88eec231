"""Which values of a job can be sent to the engine's process."""

from typing import Any

import pytest

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.transportable import check_transportable


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"prompt": list(range(1000))},
        {
            "seed": 2**64 - 1,
            "low": -(2**63),
            "text": "\U0001f680",
            "flag": True,
            "x": [1, 2.5, None],
        },
        {"mixed": [1, "a", 2**63], "ü": [[[]]]},
    ],
)
def test_what_json_and_the_engine_have_in_common(value: dict[str, Any]) -> None:
    check_transportable(value)


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"seed": 2**64}, "seed"),
        ({"seed": -(2**63) - 1}, "seed"),
        ({"prompt": [1, 2, 2**70]}, "prompt.2"),
        ({"messages": [{"role": "user"}, {"content": "\udfff"}]}, "messages.1.content"),
        ({"\ud800": 1}, "input"),
        ({"sampling_params": {"\ud800": 1}}, "sampling_params"),
    ],
)
def test_the_field_is_named(value: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_transportable(value)
    assert raised.value.param == param
    raised.value.message.encode()
