"""Errors of an endpoint as one line and an exit code."""

from typing import Any

import httpx
import openai
import pytest

from vllm_worker.client.errors import ClientError, ExitCode, errors_explained, refusal, said_in

URL = "http://h/v1"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no such model"}}, "no such model"),
        ({"message": "no such model"}, "no such model"),
        ({"type": "error", "error": {"type": "x", "message": "of Anthropic"}}, "of Anthropic"),
        ({"error": "a sentence"}, "a sentence"),
        ('{"error": "a sentence"}', "a sentence"),
        ({"title": "Unauthorized", "status": 401}, "Unauthorized"),
        ("plain\n text", "plain text"),
        ("<html>a proxy's page</html>", ""),
        (None, ""),
        ([1], ""),
    ],
)
def test_the_sentence_is_found_in_every_form(body: Any, said: str) -> None:
    assert said_in(body) == said


def test_a_status_has_an_exit_code() -> None:
    assert refusal(401, {}, URL).exit_code is ExitCode.KEY_REFUSED
    assert "does not accept the key" in str(refusal(403, "", URL))
    assert "no endpoint at" in str(refusal(404, "", URL))
    assert str(refusal(404, {"error": "no such job"}, URL)) == "no such job"
    assert str(refusal(429, {"error": "full."}, URL, "3")) == "full. Try again in 3 s."
    assert "has lost its engine" in str(refusal(503, "", URL))
    assert refusal(500, "", URL).exit_code is ExitCode.FAILED


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (httpx.ConnectError("refused"), "cannot be reached: refused"),
        (httpx.ReadTimeout(""), "did not answer in time"),
        (httpx.RemoteProtocolError("gone"), "ended the connection"),
    ],
)
def test_what_httpx_raises_is_a_line(raised: Exception, said: str) -> None:
    with pytest.raises(ClientError, match=said) as found, errors_explained(URL):
        raise raised
    assert found.value.exit_code is ExitCode.UNREACHABLE


def test_what_openais_client_raises_is_a_line() -> None:
    client = openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="k", max_retries=0)
    with client, pytest.raises(ClientError, match="cannot be reached"), errors_explained(URL):
        client.models.list()


def test_an_answer_of_another_form_is_a_line() -> None:
    page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html></html>"))
    http = httpx.Client(transport=page)
    client = openai.OpenAI(base_url=URL, api_key="k", max_retries=0, http_client=http)
    with pytest.raises(ClientError, match="in another form than expected"), errors_explained(URL):
        client.models.list()


def test_a_path_that_is_none_is_a_wrong_use() -> None:
    with pytest.raises(ClientError) as found, errors_explained(URL):
        httpx.get(f"{URL}/status/a\nb")
    assert found.value.exit_code is ExitCode.USAGE
