"""RunPod's operations, on an endpoint that answers from a list."""

from typing import Any

import httpx
import pytest

from vllm_worker.client.endpoint import at_url
from vllm_worker.client.errors import ClientError
from vllm_worker.client.queue import Queue, output_of


def queue_with(*answers: tuple[int, Any], url: str = "http://h") -> tuple[Queue, list[str]]:
    """A queue, and the list of what it is asked."""
    asked: list[str] = []
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path} {request.content.decode()}".strip())
        status, content = next(left)
        return httpx.Response(status, json=content) if content != "" else httpx.Response(status)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Queue(at_url(url), client), asked


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.client.queue.POLL_S", 0)
    monkeypatch.setattr("vllm_worker.client.queue.AGAIN_S", (0, 0))


def state(status: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"id": "j", "status": status, **more}


def test_a_job_that_takes_longer_than_runsync_is_waited_for() -> None:
    queue, asked = queue_with(
        state("IN_QUEUE"), state("IN_PROGRESS"), state("COMPLETED", output=[1])
    )
    assert output_of(queue.run_sync({"prompt": "a"})) == 1
    assert asked == ['POST /runsync {"input":{"prompt":"a"}}', *["GET /status/j"] * 2]


def test_a_job_that_no_worker_takes_in_time_is_cancelled() -> None:
    queue, asked = queue_with(state("IN_QUEUE"), state("CANCELLED"))
    queue._timeout_s = 0
    with pytest.raises(ClientError, match="in time"):
        queue.run_sync({})
    assert asked[1:] == ["POST /cancel/j"]


def test_a_job_is_cancelled_whose_endpoint_is_lost() -> None:
    queue, asked = queue_with(state("IN_QUEUE"), *[(502, "")] * 3, state("CANCELLED"))
    with pytest.raises(ClientError, match="502"):
        queue.run_sync({})
    assert asked[1:] == [*["GET /status/j"] * 3, "POST /cancel/j"]


def test_a_platform_that_stumbles_is_asked_again() -> None:
    queue, asked = queue_with(state("IN_QUEUE"), (502, ""), state("COMPLETED", output=[1]))
    assert output_of(queue.run_sync({})) == 1
    assert asked[1:] == ["GET /status/j"] * 2


@pytest.mark.parametrize("content", [{}, {"id": "j"}, {"id": "j", "status": None}, {"id": 1}])
def test_what_is_no_job_is_an_error(content: dict[str, Any]) -> None:
    for ask in (Queue.status, Queue.cancel, Queue.retry):
        with pytest.raises(ClientError, match="something else than a job"):
            ask(queue_with((200, content))[0], "j")
    with pytest.raises(ClientError, match="how many"):
        queue_with((200, content))[0].purge()


def test_a_door_answers_at_once() -> None:
    queue, asked = queue_with((200, {"choices": []}))
    assert output_of(queue.run_sync({})) == {"choices": []}
    assert len(asked) == 1


def test_a_stream_is_read_to_its_end() -> None:
    parts = [{"output": "a"}, {"output": "b"}]
    queue, _ = queue_with(
        (200, {"status": "IN_QUEUE", "stream": []}),
        (200, {"status": "IN_PROGRESS", "stream": parts}),
        (200, {"status": "COMPLETED", "stream": parts[:1]}),
        (200, {"status": "COMPLETED", "stream": []}),
    )
    assert list(queue.stream("j")) == ["a", "b", "a"]


def test_a_route_is_asked_at_its_path_and_else_by_a_job() -> None:
    queue, asked = queue_with((200, {"count": 1}))
    assert queue.call_route("/tokenize", {"prompt": "a"}) == {"count": 1}
    assert asked == ['POST /tokenize {"prompt":"a"}']
    queue, asked = queue_with((404, {}), state("COMPLETED", output=[{"count": 1}]))
    assert queue.call_route("/tokenize", {}) == {"count": 1}
    assert asked[1] == 'POST /runsync {"input":{"openai_route":"/tokenize","openai_input":{}}}'
    queue, asked = queue_with(state("COMPLETED", output={"version": "1"}), url="http://h/v2/e")
    assert queue.call_route("/version") == {"version": "1"}
    assert asked == ['POST /v2/e/runsync {"input":{"openai_route":"/version"}}']


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((204, ""), "is still starting"),
        ((503, ""), "is ending or has lost its engine"),
        ((401, {"error": "no"}), "does not accept the key"),
        ((200, [1]), "something else than a job"),
        ((404, {"error": "no such job"}), "no such job"),
    ],
)
def test_an_answer_that_is_no_job_is_an_error(answer: tuple[int, Any], said: str) -> None:
    queue, _ = queue_with(answer)
    with pytest.raises(ClientError, match=said):
        queue.cancel("j")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"id": "j", "status": "FAILED", "error": '{"message": "why"}'}, "job j is FAILED: why"),
        ({"id": "j", "status": "TIMED_OUT"}, "job j is TIMED_OUT: no reason given"),
    ],
)
def test_a_job_that_did_not_complete_has_no_output(job: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=said):
        output_of(job)
