import json

from vllm_worker.errors import BadRequest, EngineDead, EngineFailure, VLLMError, nearest
from vllm_worker.web.anthropic import error_event


def test_an_error_is_rendered_with_openais_fields() -> None:
    error = BadRequest("prompt is wrong", "prompt")
    expected = {
        "message": "prompt is wrong",
        "type": "BadRequestError",
        "param": "prompt",
        "code": 400,
    }
    assert error.as_object() == expected
    assert json.loads(error.as_output()["error"]) == expected
    event = error_event("/v1/chat/completions", 400, error.as_object())
    assert event.endswith("\n\n")
    assert json.loads(event.removeprefix("data: ")) == {"error": expected}


def test_half_a_surrogate_pair_leaves_the_worker_as_ascii() -> None:
    error = BadRequest("\ud800 is not a field", "\ud800")
    assert error.as_output()["error"].isascii()
    assert error_event("/v1/messages", 400, error.as_object()).isascii()


def test_anthropics_clients_get_an_event_with_a_name() -> None:
    event = error_event("/v1/messages", 503, EngineDead().as_object())
    name, data = event.rstrip("\n").split("\n")
    assert name == "event: error"
    error = json.loads(data.removeprefix("data: "))
    assert error["type"] == "error"
    assert error["error"]["type"] == "overloaded_error"


def test_the_status_says_what_a_client_can_do() -> None:
    assert EngineFailure("x").code == 500
    assert EngineDead().code == 503


def test_vllms_own_bodies_keep_their_fields_and_their_status() -> None:
    body = {"error": {"message": "no", "type": "NotFoundError", "param": "model", "code": 404}}
    assert VLLMError(404, body).as_object() == body["error"]


def test_other_bodies_still_give_all_fields() -> None:
    assert VLLMError(502, "bad gateway").as_object() == {
        "message": "bad gateway",
        "type": "InternalServerError",
        "param": None,
        "code": 502,
    }
    assert VLLMError(500, {"error": "text"}).message == "text"


def test_the_nearest_name_is_offered_only_when_it_is_near() -> None:
    assert nearest("max_token", ["max_tokens", "min_tokens"]) == ' Did you mean "max_tokens"?'
    assert nearest("zzz", ["max_tokens"]) == ""
