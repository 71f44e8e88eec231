import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_worker.decoding.structured_output_limits import Limits, grammar_repeats, repeats


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("abc", 0),
        ("a{2,9}", 9),
        ("[a-z]{3}", 3),
        ("(a{10}b){10}", 110),
        ("(?:a{10}b){10}c{5}", 115),
        ("((a{10}){10}){10}", 1110),
        ("a?b*c+", 120),
        ("(a*b)*", 80),
        ("a{2,}", 40),
        (r"\(\?\*\{2,9\}[?*+(]", 0),
        (r"(?=a)(?<name>b){3}", 3),
        ("a{x}", 0),
        (")))(((", 0),
        ("a{" + "9" * 5000 + "}", 10**9),
        ("a{2," + "9" * 5000 + "}", 10**9),
        ("[a{9}", 0),
        ("[a\\", 0),
        ("(" * 5000 + "a" + "){1000}" * 5000, 10**9),
    ],
)
def test_how_often_a_regular_expression_repeats(pattern: str, count: int) -> None:
    assert repeats(pattern) == count


def test_a_grammar_s_sequences_count_and_its_quoted_texts_do_not() -> None:
    assert grammar_repeats('root ::= "(a|b)**" "c"') == 80
    assert grammar_repeats('root ::= ("a" "b"?){10}') == 410
    assert grammar_repeats("root ::= " + "a " * 300 + '\na ::= "" | "x"') > 10_000


def test_a_grammar_s_comments_and_classes_do_not_count() -> None:
    assert grammar_repeats("# " + "a word " * 300 + '\nroot ::= "a"') < 200
    assert grammar_repeats("root ::= [#] " + "a " * 300) > 10_000
    assert grammar_repeats("root ::= [\n# ] " + "a " * 300) > 10_000


@pytest.mark.parametrize("text", ["[", '"\\"', "{1", "{", "1", "\\", "(", "[\\", "#\n", "a?", "//"])
def test_counting_takes_no_longer_for_what_never_ends(text: str) -> None:
    """The loop waits for it. By the ratio of a text to one of a quarter of its size."""

    def seconds(size: int) -> float:
        whole = ('{"' + text * size)[:size]
        began = time.process_time()
        repeats(whole)
        grammar_repeats(whole)
        return time.process_time() - began

    short, long = min(seconds(5_000) for _ in range(3)), min(seconds(20_000) for _ in range(3))
    assert long < 10 * short  # it would be 16 times as long in the square of the size


def given(**constraint: Any) -> Any:
    return SimpleNamespace(
        **{"json": None, "structural_tag": None, "regex": None, "grammar": None, "choice": None}
        | constraint
    )


PATTERNS = {"properties": {f"p{i}": {"pattern": "^[a-z]{1,1000}$"} for i in range(20)}}


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        (given(json={"enum": ["value"] * 20_000}), "160,010 bytes, more than 131,072"),
        (given(choice=["value"] * 20_000), "more than 131,072 (STRUCTURED_OUTPUT_MAX_BYTES)"),
        (given(regex="a?" * 300), "12,000 times, more than 10,000 (STRUCTURED_OUTPUT_MAX_REPEATS)"),
        (given(grammar='root ::= ("a"{1,200}){1,200}'), "40,200 times"),
        (given(json=PATTERNS), "20,000 times"),
        (given(json=json.dumps(PATTERNS)), "20,000 times"),
        (given(json={"patternProperties": {"(a{1,200}){1,200}": {}}}), "40,200 times"),
        (given(structural_tag=json.dumps({"format": [PATTERNS]})), "20,000 times"),
        (given(json={"items": {"type": "array", "minItems": 10**9}}), "1,000,000,000 times"),
        (given(json='{"minItems": 5, "maxItems": 1e5}'), "100,000 times"),
        (given(json='{"minItems": NaN, "maxItems": "many"}'), None),
        (given(json={"items": [{"$ref": "https://x/y"}]}), "refers to 'https://x/y'"),
        (given(json={"$defs": {"x": {}}, "items": {"$ref": "#/$defs/x"}}), None),
        (
            given(
                structural_tag={"format": {"type": "grammar", "grammar": "root ::= " + "a " * 300}}
            ),
            "12,000 times",
        ),
        (given(json={"pattern": "^[0-9]{4}-[0-9]{2}$", "enum": ["a"] * 500}), None),
        (given(json="{broken"), None),
        (given(json={"pattern": 5, "patternProperties": 7}), None),
        (given(regex=r"[\w.+-]+@[\w-]+(\.[\w-]+)*"), None),
    ],
)
def test_what_would_take_the_engine_minutes_is_refused(constraint: Any, says: str | None) -> None:
    problem = Limits().problem(constraint)
    assert (problem is None) if says is None else (says in (problem or "")), problem
