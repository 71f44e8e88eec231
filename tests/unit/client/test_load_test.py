"""Figures of a load test, and the load itself on a client that answers by the clock."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_worker.client.errors import ClientError
from vllm_worker.client.load_test import (
    Load,
    Sample,
    figures,
    from_file,
    percentiles,
    run_load,
    synthetic,
)


def test_figures_of_known_samples() -> None:
    samples = [
        Sample(0.0, [0.1, 0.2, 0.4], seconds=0.5, tokens=4, prompt_tokens=3),
        Sample(0.5, [0.3, 0.4], seconds=1.5, tokens=2, prompt_tokens=3),
        Sample(0.5, seconds=9.5, error="busy"),
    ]
    numbers = figures(samples)
    assert (numbers["requests"], numbers["failed"]) == (3, 1)
    assert numbers["errors"] == {"busy": 1}
    assert numbers["seconds"] == 10
    assert (numbers["output_tokens"], numbers["output_tokens_per_s"]) == (6, 0.6)
    assert numbers["requests_per_s"] == 0.2
    assert numbers["first_token_ms"]["p50"] == 200
    assert numbers["gap_ms"]["p50"] == 100
    assert numbers["token_ms"]["p50"] == 100
    assert numbers["request_ms"]["p50"] == 1000


def test_there_are_figures_of_nothing_too() -> None:
    assert figures([])["output_tokens_per_s"] == 0
    assert percentiles([]) == {}
    assert percentiles([0.5]) == {"p50": 500, "p90": 500, "p99": 500}


def test_chats_are_made_up_alike_for_one_seed() -> None:
    chats = synthetic(3, 50, seed=1)
    assert chats == synthetic(3, 50, seed=1)
    assert len({chat[0]["content"] for chat in chats}) == 3
    assert all(len(chat[0]["content"].split()) == 50 for chat in chats)


def test_chats_come_from_a_file_as_often_as_needed(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    messages = [{"role": "user", "content": "b"}]
    file.write_text(f'{{"prompt": "a"}}\n\n{json.dumps({"messages": messages})}\n')
    a = [{"role": "user", "content": "a"}]
    assert from_file(file, 3) == [a, messages, a]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompt": "a"}\n{"text": "b"}', ":2 is not a JSON object"),
        ("", "no line"),
        ("[1]", ":1 "),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(content)
    with pytest.raises(ClientError, match=said):
        from_file(file, 1)


class Endpoint:
    """As OpenAI's client: each answer takes `seconds`; one of them breaks, one is odd, one cut."""

    base_url = "http://h/v1"

    def __init__(
        self, seconds: float = 0.05, broken: int = -1, odd: int = -1, cut: int = -1
    ) -> None:
        self.seconds, self.broken, self.odd, self.cut = seconds, broken, odd, cut
        self.asked: list[dict[str, Any]] = []
        self.running = self.most = 0
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    async def create(self, **body: Any) -> "Endpoint":
        self.asked.append(body)
        if len(self.asked) - 1 == self.broken:
            raise ClientError("broken")
        return self

    async def __aenter__(self) -> "Endpoint":
        self.running += 1
        self.most = max(self.most, self.running)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.running -= 1

    async def __aiter__(self) -> Any:
        await asyncio.sleep(self.seconds)
        delta = SimpleNamespace(content="a")
        if len(self.asked) - 1 == self.odd:
            yield SimpleNamespace(usage=None, choices=[SimpleNamespace(delta=None)])
        ended = None if len(self.asked) - 1 == self.cut else "length"
        choice = SimpleNamespace(delta=delta, finish_reason=ended)
        yield SimpleNamespace(usage=None, choices=[choice])
        usage = SimpleNamespace(completion_tokens=1, prompt_tokens=2)
        yield SimpleNamespace(usage=usage, choices=[])


@pytest.mark.parametrize("rate", [None, 500.0])
async def test_so_many_are_sent_at_once(rate: float | None) -> None:
    endpoint, done = Endpoint(broken=3), Counter[str]()
    load = Load(requests=20, concurrency=4, rate=rate)
    fields = {"model": "m", "max_tokens": 1}
    client: Any = endpoint
    samples: list[Sample] = []
    chats = synthetic(20, 5, 0)
    await run_load(client, chats, fields, load, samples, lambda: done.update(["done"]))
    assert done["done"] == len(samples) == 20
    assert endpoint.most <= 4
    assert [sample.error for sample in samples].count("broken") == 1
    assert endpoint.asked[0]["extra_body"] == {"max_tokens": 1}
    assert figures(samples)["output_tokens"] == 19


async def test_an_odd_answer_is_an_error_of_its_request_alone() -> None:
    client: Any = Endpoint(odd=0, cut=1)
    load = Load(requests=3, concurrency=1)
    samples: list[Sample] = []
    chats = synthetic(3, 5, 0)
    await run_load(client, chats, {"model": "m"}, load, samples, lambda: None)
    odd, cut, good = (sample.error for sample in samples)
    assert "in another form than expected" in str(odd)
    assert "before its answer was complete" in str(cut)
    assert good is None


async def test_what_had_ended_before_a_stop_is_kept() -> None:
    client: Any = Endpoint(seconds=0)
    samples: list[Sample] = []

    def slow_down() -> None:
        client.seconds = 60

    load = Load(requests=10, concurrency=1)
    chats = synthetic(10, 5, 0)
    run = asyncio.create_task(run_load(client, chats, {"model": "m"}, load, samples, slow_down))
    while not samples:
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [sample.error for sample in samples] == [None]
