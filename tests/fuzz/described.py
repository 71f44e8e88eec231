"""Requests made from vLLM's own description of its routes."""

from collections.abc import Callable, Iterator
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.errors import UnsupportedSchema

from tests.fuzz.asking import BOUND_S, Stuck, Wrong, judge
from vllm_worker.routes.allowlist import ALLOWED


def fields_of_bodies(description: dict[str, Any]) -> dict[str, list[str]]:
    """Route → the names of the fields of its body, for the routes that jobs may name."""
    fields = {}
    for route in ALLOWED:
        post = description["paths"].get(route, {}).get("post", {})
        content = post.get("requestBody", {}).get("content", {})
        names = {name for kind in content.values() for name in _names(kind["schema"], description)}
        if names:
            fields[route] = sorted(names)
    return fields


def _names(schema: dict[str, Any], description: dict[str, Any]) -> Iterator[str]:
    if reference := schema.get("$ref"):
        named = description["components"]["schemas"][reference.rpartition("/")[2]]
        yield from _names(named, description)
    for part in schema.get("anyOf", []) + schema.get("oneOf", []):
        yield from _names(part, description)
    yield from schema.get("properties", {})


def described_cases(description: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Schemathesis' cases of all the routes that jobs may name: as described, and not."""
    kept = {path: item for path, item in description["paths"].items() if path in ALLOWED}
    schema = schemathesis.openapi.from_dict(description | {"paths": kept})
    results: Any = schema.get_all_operations()
    operations = [result.ok() for result in results]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    kinds = [each.as_strategy(generation_mode=mode) for each in operations for mode in modes]
    return _cases(kinds).filter(lambda case: case is not None)


@st.composite
def _cases(draw: Callable[[Any], Any], kinds: list[Any]) -> Any:
    """A case, or None where Schemathesis finds that it cannot make one of what it has drawn."""
    kind = draw(st.sampled_from(kinds))
    try:
        return draw(kind)
    except UnsupportedSchema:
        return None


def ask_described(url: str, case: Any) -> int:
    """The status of the answer. Raises Wrong, Stuck."""
    request = case.as_transport_kwargs(base_url=url)
    try:
        answer: Any = requests.request(**request, timeout=BOUND_S)  # like httpx's for all we ask
        return judge(answer)
    except requests.RequestException as error:
        raise Stuck(f"{case.as_curl_command()}: {error!r}") from None
    except Wrong as wrong:
        raise Wrong(f"{wrong}\n    {case.as_curl_command()}") from None
