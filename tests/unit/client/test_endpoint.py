"""One endpoint by any of its URLs."""

import pytest

from vllm_worker.client.endpoint import at_url, is_runpod, on_runpod
from vllm_worker.client.errors import ClientError


@pytest.mark.parametrize(
    ("given", "url", "openai_url"),
    [
        ("http://h:8000", "http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/v1", "http://h:8000", "http://h:8000/v1"),
        ("https://h/v2/abc", "https://h/v2/abc", "https://h/v2/abc/openai/v1"),
        ("https://h/v2/abc/openai/v1/", "https://h/v2/abc", "https://h/v2/abc/openai/v1"),
        ("https://abc.api.runpod.ai", "https://abc.api.runpod.ai", "https://abc.api.runpod.ai/v1"),
        (" http://[::1]:80 ", "http://[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_urls_follow_from_any_of_them(given: str, url: str, openai_url: str) -> None:
    endpoint = at_url(given)
    assert (endpoint.url, endpoint.openai_url) == (url, openai_url)
    assert at_url(endpoint.openai_url) == endpoint


@pytest.mark.parametrize("given", ["", "h:8000", "ftp://h", "http://", "http://h:x", "http://h/?a"])
def test_what_is_no_url_of_an_endpoint_is_named(given: str) -> None:
    with pytest.raises(ClientError, match="is not the URL of an endpoint, such as"):
        at_url(given)


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-…abcd", "sk\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ClientError, match="is it one key, and whole") as refused:
        at_url("http://h", key)
    assert "sk" not in str(refused.value)


def test_a_password_in_a_url_is_refused_and_not_quoted() -> None:
    with pytest.raises(ClientError, match="no password in it") as refused:
        at_url("http://user:hunter2@h")
    assert "hunter2" not in str(refused.value)


def test_an_endpoint_on_runpod_is_a_queue() -> None:
    endpoint = on_runpod("abc123", "key")
    assert endpoint.openai_url == "https://api.runpod.ai/v2/abc123/openai/v1"
    assert endpoint.is_queue
    assert endpoint.key == "key"
    assert not at_url("http://h/v1").is_queue
    assert at_url("http://h", " key\n").key == "key"
    assert at_url("http://h", " ").key is None
    with pytest.raises(ClientError, match="is not the id of an endpoint"):
        on_runpod("https://h", None)


def test_a_gateways_provider_is_in_the_path() -> None:
    there = at_url("http://h/v1", "key").through("blue")
    assert there.openai_url == "http://h/provider/blue/v1"
    assert there.key == "key"


@pytest.mark.parametrize(
    ("url", "is_theirs"),
    [
        ("https://api.runpod.ai/v2/a", True),
        ("https://a.api.runpod.ai", True),
        ("http://api.runpod.ai/v2/a", False),
        ("https://notrunpod.ai", False),
        ("https://runpod.ai.example.com", False),
    ],
)
def test_runpods_key_goes_to_runpod_alone(url: str, is_theirs: bool) -> None:
    assert is_runpod(url) is is_theirs
