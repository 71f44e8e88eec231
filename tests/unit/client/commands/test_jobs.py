"""A job's input, from whatever form it is given in."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_worker.client.commands.jobs import (
    cancelled_unless_ended,
    follow,
    input_of,
    summary,
)
from vllm_worker.client.errors import ClientError
from vllm_worker.client.options import Sampling


@pytest.mark.parametrize(
    ("given", "chat", "stream", "job_input"),
    [
        ("hello", False, False, {"prompt": "hello"}),
        ("hello", True, True, {"messages": [{"role": "user", "content": "hello"}], "stream": True}),
        ('{"prompt": "a"}', False, False, {"prompt": "a"}),
        ('{"input": {"prompt": "a"}}', False, False, {"prompt": "a"}),
    ],
)
def test_a_prompt_or_json(given: str, chat: bool, stream: bool, job_input: Any) -> None:
    assert input_of(given, Sampling(), chat, stream) == job_input


def test_parameters_go_with_a_prompt_alone() -> None:
    job_input = input_of("a", Sampling(max_tokens=3), False, False)
    assert job_input == {"prompt": "a", "sampling_params": {"max_tokens": 3}}
    with pytest.raises(ClientError, match="go in the input"):
        input_of('{"prompt": "a"}', Sampling(max_tokens=3), False, False)


def test_a_file_is_named_with_an_at_sign(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"prompt": "a"}))
    assert input_of(f"@{file}", Sampling(), False, False) == {"prompt": "a"}
    with pytest.raises(ClientError, match="cannot be read"):
        input_of(f"@{tmp_path}/missing", Sampling(), False, False)
    with pytest.raises(ClientError, match="the input is not JSON"):
        input_of("{", Sampling(), False, False)


def test_a_job_in_one_line() -> None:
    assert summary({"id": "j", "status": "IN_QUEUE"}) == "job j IN_QUEUE"
    ended = {"id": "j", "status": "COMPLETED", "delayTime": 1234, "executionTime": 60}
    assert summary(ended) == "job j COMPLETED · waited 1.2 s · ran 0.1 s"


class Reachable:
    """A queue at which a job can be cancelled, or not."""

    def __init__(self, is_reachable: bool) -> None:
        self.is_reachable = is_reachable
        self.abandoned: list[str] = []

    def abandon(self, job_id: str) -> bool:
        self.abandoned.append(job_id)
        return self.is_reachable


@pytest.mark.parametrize(("is_reachable", "said"), [(True, "is cancelled"), (False, "goes on")])
@pytest.mark.parametrize("reason", [KeyboardInterrupt, BrokenPipeError, SystemExit, ClientError])
def test_a_job_that_nobody_waits_for_is_cancelled(
    is_reachable: bool, said: str, reason: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    queue: Any = Reachable(is_reachable)
    with pytest.raises(reason), cancelled_unless_ended(queue, {"id": "j"}):
        raise reason("")
    assert queue.abandoned == ["j"]
    assert f"job j {said}" in capsys.readouterr().err


def test_a_job_is_followed_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    states = [{"id": "j", "status": status} for status in ("IN_QUEUE", "COMPLETED")]
    assert follow(iter(states), states[0]) == states[1]
    assert capsys.readouterr().err == "job j COMPLETED\n"
