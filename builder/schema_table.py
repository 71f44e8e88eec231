"""The table of what the backends of structured outputs make of JSON schemas: each is compiled, and
asked about an output that follows it and one that does not.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vllm_worker.decoding.unenforced import unenforced

CASES = Path(__file__).with_name("schema_cases.json")
_MODEL = Path(__file__).parents[1] / "src/vllm_worker/demo_model"
FOLLOWED, IGNORED, REFUSED, TOO_NARROW = "followed", "**ignored**", "refused", "too narrow"


@dataclass(frozen=True)
class Case:
    """A schema, an output that follows it, and one that violates it."""

    name: str
    schema: dict[str, Any]
    follows: Any
    violates: Any


@cache
def cases() -> list[Case]:
    return [Case(**case) for case in json.loads(CASES.read_text())]


def table() -> str:
    """What each backend makes of each schema, and the worker with its default."""
    lines = [
        "| schema | xgrammar | guidance | this worker |",
        "|---|---|---|---|",
        *(f"| {_cell(case)} | {' | '.join(_verdicts(case))} |" for case in cases()),
    ]
    return "\n".join(lines) + "\n"


def _cell(case: Case) -> str:
    return f"`{json.dumps(case.schema)}`".replace("|", "\\|")


def _verdicts(case: Case) -> Iterator[str]:
    by_xgrammar = verdict(case, accepted_by_xgrammar)
    by_guidance = verdict(case, accepted_by_guidance)
    yield by_xgrammar
    yield by_guidance
    if not refusal(case) and by_xgrammar != REFUSED:
        yield by_xgrammar
    else:
        yield "400" if by_guidance == REFUSED else by_guidance


def refusal(case: Case) -> str | None:
    """What of the schema the worker does not leave to xgrammar."""
    return unenforced(SimpleNamespace(json=case.schema, structural_tag=None))


def verdict(case: Case, accepted: Callable[[dict[str, Any], Any], bool]) -> str:
    """What a backend makes of the schema."""
    try:
        if accepted(case.schema, case.violates):
            return IGNORED
        return FOLLOWED if accepted(case.schema, case.follows) else TOO_NARROW
    except ValueError:
        return REFUSED


def accepted_by_xgrammar(schema: dict[str, Any], output: Any) -> bool:
    """Whether this may be a whole output. Raises ValueError for a schema that it does not take."""
    import xgrammar

    try:
        with _standard_error_closed():  # its warnings of what it ignores are what is asked here
            compiled = _xgrammar_compiler().compile_json_schema(json.dumps(schema))
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
    return bool(matcher.accept_string(json.dumps(output)) and matcher.is_terminated())


def accepted_by_guidance(schema: dict[str, Any], output: Any) -> bool:
    """The same of llguidance."""
    from llguidance import LLMatcher

    tokenizer = _guidance_tokenizer()
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    if problem := LLMatcher.validate_grammar(grammar, tokenizer):
        raise ValueError(problem)
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    tokens = tokenizer.tokenize_str(json.dumps(output))
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """The descriptor itself, to which compiled code writes."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_MODEL)


@cache
def _xgrammar_compiler() -> Any:
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(_tokenizer())
    return xgrammar.GrammarCompiler(info, max_threads=1)


@cache
def _guidance_tokenizer() -> Any:
    import llguidance.hf

    return llguidance.hf.from_tokenizer(_tokenizer())
