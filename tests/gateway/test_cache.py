"""Answers that are given again."""

import time
from typing import Any

import openai
import pytest

from tests.gateway.running import Gateway, jobs
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.slow


def body(question: str, **cache: object) -> Any:
    messages = [{"role": "user", "content": question}]
    return {"model": "team-a/http", "messages": messages, "max_tokens": 100} | (
        {"extra_body": {"cache": cache}} if cache else {}
    )


def ask(client: openai.OpenAI, question: str, **cache: object) -> tuple[str, str, float]:
    """The answer's id, whether it was cached, and the seconds that it took."""
    begun = time.monotonic()
    answered = client.chat.completions.with_raw_response.create(**body(question, **cache))
    took = time.monotonic() - begun
    return answered.parse().id, answered.headers["x-cache"], took


@pytest.fixture
def http_door(workers: dict[str, tuple[WorkerProcess, str]]) -> WorkerProcess:
    return workers["http"][0]


def test_the_same_request_is_answered_from_the_cache(
    alice: openai.OpenAI, http_door: WorkerProcess
) -> None:
    first, how, took = ask(alice, "one", ttl=600)
    asked = jobs(http_door)
    again, how_again, took_again = ask(alice, "one", ttl=600)
    assert (how, how_again, again) == ("miss", "hit", first)
    assert jobs(http_door) == asked
    assert took_again < took


def test_after_its_time_a_worker_is_asked_again(alice: openai.OpenAI) -> None:
    first, _, _ = ask(alice, "two", ttl=1)
    time.sleep(1.5)
    again, how, _ = ask(alice, "two", ttl=1)
    assert how == "miss"
    assert again != first


def test_another_key_does_not_see_it(alice: openai.OpenAI, bob: openai.OpenAI) -> None:
    ask(alice, "three", ttl=600)
    assert ask(bob, "three", ttl=600)[1] == "miss"
    assert ask(alice, "three", ttl=600, namespace="bob")[1] == "hit"
    assert ask(bob, "three", ttl=600, namespace="alice")[1] == "hit"  # its own, by now


def test_a_cache_key_leads_to_nobody_elses_answer(alice: openai.OpenAI, bob: openai.OpenAI) -> None:
    for client in (alice, bob):
        more: Any = {"extra_body": {"cache": {"ttl": 600}, "cache_key": "shared"}}
        messages: Any = [{"role": "user", "content": "cache_key"}]
        answered = client.chat.completions.with_raw_response.create(
            model="team-a/http", messages=messages, **more
        )
        assert answered.headers["x-cache"] == "miss"


def test_answers_of_other_parameters_are_not_given_again(alice: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "parameters"}]
    for choice in ("red", "green"):
        more: Any = {"cache": {"ttl": 600}, "structured_outputs": {"choice": [choice]}}
        chat = alice.chat.completions.create(
            model="team-a/http", messages=messages, extra_body=more
        )
        assert chat.choices[0].message.content == choice


def test_nothing_is_cached_unless_it_is_asked_for(alice: openai.OpenAI) -> None:
    assert [ask(alice, "four")[1] for _ in range(2)] == ["miss", "miss"]


@pytest.mark.parametrize("control", ["no-cache", "no-store"])
def test_what_a_request_says_of_the_cache(control: str, alice: openai.OpenAI) -> None:
    ask(alice, f"five {control}", ttl=600, **{control: True})
    _, how, _ = ask(alice, f"five {control}", ttl=600)
    assert how == ("hit" if control == "no-cache" else "miss")
    assert ask(alice, f"five {control}", ttl=600, **{"no-cache": True})[1] == "miss"


def test_a_stream_is_cached_as_a_stream(
    gateway: Gateway, alice: openai.OpenAI, http_door: WorkerProcess
) -> None:
    def stream() -> str:
        chunks = alice.chat.completions.create(**body("six", ttl=600), stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    first, asked = stream(), jobs(http_door)
    assert stream() == first
    assert jobs(http_door) == asked
