"""Values in a job that JSON has but that cannot be sent to the engine's process."""

from array import array
from collections.abc import Iterator
from typing import Any

from vllm_worker.errors import BadRequest

_MOST_LEVELS = 950
_LEAST, _MOST = -(2**63), 2**64 - 1
_NUMBER = "is an integer that does not fit in 64 bits"
_TEXT = "has an unpaired surrogate, which is not valid text"


def check_transportable(value: dict[str, Any]) -> None:
    """Raises BadRequest, which names the field as `outer.inner`.

    Level by level and without encoding anything: a job may carry megabytes of base64 text.
    """
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        if not all(map(_is_plain, level)):
            raise _refusal(value)
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise BadRequest("input is nested too deeply.", "input")


def _children(value: Any) -> Iterator[Any]:
    if type(value) is dict:
        yield from value
        yield from value.values()
    elif type(value) is list and not _is_numbers(value):
        yield from value


def _is_numbers(items: list[Any]) -> bool:
    """Whether these are integers alone, all of which fit: a prompt may be 100,000 token ids."""
    if not items or type(items[0]) is not int:
        return False
    try:
        array("q", items)
    except (OverflowError, TypeError):
        return False
    return True


def _is_plain(value: Any) -> bool:
    return not _fault(value)


def _fault(value: Any) -> str:
    """The problem of a value itself, not of its children."""
    if type(value) is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return _TEXT
    if type(value) is int and not _LEAST <= value <= _MOST:
        return _NUMBER
    return ""


def _refusal(value: dict[str, Any]) -> BadRequest:
    waiting: list[tuple[str, Any]] = [("", value)]
    for path, item in waiting:
        if fault := _fault(item):
            return BadRequest(f"{path} {fault}.", path)
        if isinstance(item, dict):
            if wrong := next((key for key in item if _fault(key)), None):
                where = path or "input"
                return BadRequest(f"{where} has a field whose name {_fault(wrong)}.", where)
            waiting += [(f"{path}.{key}".lstrip("."), child) for key, child in item.items()]
        elif isinstance(item, list):
            waiting += [(f"{path}.{index}", child) for index, child in enumerate(item)]
    raise AssertionError("nothing is wrong")
