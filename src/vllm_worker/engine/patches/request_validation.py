"""Bodies over which the checks of vLLM's application stumble.

vLLM has checks that look into a body before its types are known. They expect what is usually there,
and end with an AttributeError or the like, status 500, on a list where an object should be.
"""

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from fastapi._compat import ModelField
from pydantic import BaseModel, TypeAdapter, ValidationError

_STUMBLES = (AttributeError, LookupError, TypeError, RecursionError)

_validate = ModelField.validate


def install() -> None:
    """Has vLLM's application answer 400 where one of its checks stumbles, with the wrong fields."""
    ModelField.validate = _validate_surely  # type: ignore[method-assign]


def _validate_surely(self: ModelField, value: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return _validate(self, value, *arguments, **named)
    except _STUMBLES as error:
        kind = self.field_info.annotation
        wrong = [each for model in get_args(kind) or [kind] for each in _wrong(model, value)]
        return None, wrong or [_detail((), f"cannot be read ({type(error).__name__})")]


def _wrong(model: Any, value: Any) -> Iterator[dict[str, Any]]:
    """The fields whose values do not have their types, each looked at by itself."""
    if not (isinstance(value, dict) and isinstance(model, type) and issubclass(model, BaseModel)):
        return
    for name, field in model.model_fields.items():
        if name not in value:
            continue
        kind: Any = Annotated[field.annotation, field]
        try:
            TypeAdapter(kind).validate_python(value[name])
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                yield _detail((name, *detail["loc"]), detail["msg"])
        except _STUMBLES as error:
            yield _detail((name,), f"cannot be read ({type(error).__name__})")


def _detail(place: tuple[Any, ...], message: str) -> dict[str, Any]:
    """In pydantic's form."""
    return {"type": "value_error", "loc": ("body", *place), "msg": message}
