import json
from math import inf, nan

import pytest
from starlette.responses import JSONResponse

from vllm_worker.engine.patches import non_finite_json


def test_numbers_that_json_does_not_have_become_those_that_vllm_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An engine in this process may have installed it already.
    monkeypatch.setattr(JSONResponse, "render", non_finite_json._render)
    with pytest.raises(ValueError, match="Out of range"):
        JSONResponse({"logprob": -inf})
    non_finite_json.install()
    body = json.loads(JSONResponse({"a": [{"logprob": -inf}, (inf, 1.5)], "b": nan}).body)
    assert body == {"a": [{"logprob": -9999.0}, [9999.0, 1.5]], "b": None}
