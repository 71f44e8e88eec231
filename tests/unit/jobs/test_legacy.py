import pytest

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.legacy import with_current_names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"guided_json": {"type": "object"}}, {"json": {"type": "object"}}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {"choice": ["a", "b"]}),
        ({"guided_grammar": "root ::= x"}, {"grammar": "root ::= x"}),
    ],
)
def test_an_old_name_becomes_a_structured_output(old: dict, new: dict) -> None:
    assert with_current_names({"n": 2, **old}) == {"n": 2, "structured_outputs": new}


def test_what_has_no_old_name_is_left_alone() -> None:
    parameters = {"n": 2, "structured_outputs": {"regex": "a"}, "guided_json": None}
    assert with_current_names(parameters) is parameters


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"guided_json": 5}, "guided_json should be an object or a string, not 5."),
        ({"guided_choice": "a"}, "guided_choice should be an array, not a string."),
        ({"guided_regex": ["a"]}, "guided_regex should be a string, not an array."),
    ],
)
def test_a_wrong_type_is_said_by_the_old_name(parameters: dict, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        with_current_names(parameters)


def test_two_constraints_are_a_mistake() -> None:
    with pytest.raises(BadRequest) as raised:
        with_current_names({"guided_regex": "a", "structured_outputs": {"regex": "b"}}, "x.")
    assert raised.value.message == "Give only one of guided_regex, structured_outputs."
    assert raised.value.param == "x.guided_regex"
