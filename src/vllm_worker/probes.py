"""Whether something of vLLM or of the SDK is still as the worker was written for; calls nothing."""

import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

Probe = Callable[[Any], str]
"""Takes an object and says what is different about it, or nothing."""


class Takes:
    """A function whose first parameters have these names, and whose others have defaults."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, function: Any) -> str:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return "is no function"
        first = tuple(parameter.name for parameter in parameters[: len(self._names)])
        if first != self._names:
            return f"takes ({', '.join(first)}), not ({', '.join(self._names)})"
        if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[: len(first)]):
            return "takes keywords only"
        more = [p.name for p in parameters[len(first) :] if _must_be_given(p)]
        return f"also needs {', '.join(more)}" if more else ""


class Fields:
    """An object, or a class, that has these attributes."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, owner: Any) -> str:
        missing = [name for name in self._names if not hasattr(owner, name)]
        return f"has no {', '.join(missing)}" if missing else ""


class Mentions:
    """A function whose code uses these names; `keyword` is one by which it calls, and `owner` a
    variable that it calls."""

    def __init__(self, *names: str, keyword: str = "", owner: str = "") -> None:
        self._names = names
        self._keyword = keyword
        self._owner = owner

    def __call__(self, function: Any) -> str:
        code = getattr(inspect.unwrap(function), "__code__", None)
        if not isinstance(code, CodeType):
            return "is no function"
        keywords = {name for const in code.co_consts if isinstance(const, tuple) for name in const}
        known = {*code.co_names, *keywords}
        missing = [name for name in self._names if name not in known]
        if self._keyword and self._keyword not in keywords:
            missing.append(f"{self._keyword}=")
        if self._owner and self._owner not in code.co_varnames:
            missing.append(self._owner)
        return f"no longer uses {', '.join(missing)}" if missing else ""


def _must_be_given(parameter: inspect.Parameter) -> bool:
    variadic = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variadic
