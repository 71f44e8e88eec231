"""Numbers that JSON does not have, in the answers of vLLM's application.

vLLM writes -9999.0 for a log-probability of minus infinity where it answers with one, but not in
`prompt_logprobs`; there its whole answer becomes an error.
"""

from math import isfinite, isnan
from typing import Any

from starlette.responses import JSONResponse

_LARGEST = 9999.0

_render = JSONResponse.render


def install() -> None:
    """Has every answer in JSON be valid JSON."""
    JSONResponse.render = _render_valid  # type: ignore[method-assign]


def _render_valid(self: JSONResponse, content: Any) -> bytes:
    try:
        return _render(self, content)
    except ValueError:
        return _render(self, _finite(content))


def _finite(value: Any) -> Any:
    """NaN becomes null, minus infinity -9999.0 and infinity 9999.0."""
    match value:
        case dict():
            return {name: _finite(child) for name, child in value.items()}
        case list() | tuple():
            return [_finite(child) for child in value]
        case float() if not isfinite(value):
            return None if isnan(value) else _LARGEST if value > 0 else -_LARGEST
        case _:
            return value
