from math import inf, nan
from typing import Any

import pytest

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.validation import json_text


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"temperature": nan}, "body.temperature"),
        ({"stop": ["a"], "logit_bias": {"5": -inf}}, "body.logit_bias.5"),
        ({"messages": [{"content": "x"}, {"content": [inf]}]}, "body.messages.1.content.0"),
    ],
)
def test_a_number_that_json_does_not_have_is_named(value: Any, param: str) -> None:
    with pytest.raises(BadRequest, match="not NaN or infinite") as raised:
        json_text(value, "body.")
    assert raised.value.param == param
