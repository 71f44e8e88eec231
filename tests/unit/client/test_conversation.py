"""Turns, and the words that begin with a slash, on an endpoint that repeats what it is asked."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from vllm_worker.client.conversation import Answer, Conversation, read_turn
from vllm_worker.client.errors import ClientError

Chunks = Generator[dict[str, Any]]


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def echo(body: dict[str, Any]) -> Chunks:
    said = body["messages"][-1]["content"]
    if said == "fail":
        raise ClientError("it failed")
    yield chunk(role="assistant")
    for word in f"{body['model']}: {said}".split(" "):
        yield chunk(content=f"{word} ")
        if said == "stop":
            raise KeyboardInterrupt
    ended = None if said == "cut" else "stop"
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": ended}]}
    yield {"choices": [], "usage": {"completion_tokens": 2}}


def converse(*turns: str, **fields: Any) -> Conversation:
    conversation = Conversation(echo, "m", models=lambda: ["m", "n"], **fields)
    lines = iter(turns)

    def read(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    conversation.run(read)
    return conversation


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in conversation.messages]


def test_turns_are_asked_with_all_that_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    conversation = converse("one", "", "two")
    assert [role for role, _ in said(conversation)] == ["user", "assistant"] * 2
    assert capsys.readouterr().out == "m: one \nm: two \n\n"


def test_what_fails_is_said_and_is_not_part_of_the_conversation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(converse("fail", "one")) == [("user", "one"), ("assistant", "m: one ")]
    assert "it failed" in capsys.readouterr().err


def test_an_answer_without_an_end_is_said_and_is_not_part_of_the_conversation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(converse("cut", "one")) == [("user", "one"), ("assistant", "m: one ")]
    assert "before it was complete" in capsys.readouterr().err


def test_what_was_stopped_keeps_what_had_come() -> None:
    assert said(converse("stop")) == [("user", "stop"), ("assistant", "m: ")]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "saved.json"
    conversation = converse("/system be brief", "one", "/model n", "/retry", f"/save {file}")
    assert said(conversation) == [
        ("system", "be brief"), ("user", "one"), ("assistant", "n: one "),
    ]  # fmt: skip
    assert json.loads(file.read_text()) == conversation.messages
    assert said(converse("/system be brief", "one", "/clear")) == [("system", "be brief")]
    assert said(converse("one", "/exit", "two")) == [("user", "one"), ("assistant", "m: one ")]
    capsys.readouterr()
    converse("/retry", "/model x", "/save", "/what", "/help", "/save /")
    errors = capsys.readouterr().err
    for line in (
        "nothing to ask again", "x is not served; there are m, n", "/save needs something",
        "there is no /what", "Ctrl-C stops", "/ cannot be written",
    ):  # fmt: skip
        assert line in errors


def test_three_quotes_hold_several_lines() -> None:
    lines = iter(['"""one', " two", 'three"""'])
    assert read_turn(lambda prompt: next(lines)) == "one\n two\nthree"
    assert read_turn(lambda prompt: '"""one"""') == "one"


def test_tool_calls_are_put_together() -> None:
    answer = Answer()
    first = {"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"a"'}}
    for part in (first, {"index": 0, "function": {"arguments": ": 1}"}}):
        answer.add(chunk(tool_calls=[part]))
    assert answer.calls_as_text() == ['f({"a": 1})']
    assert answer.message()["content"] is None
    assert answer.message()["tool_calls"][0]["id"] == "1"


def test_an_index_is_a_name_and_no_length() -> None:
    answer = Answer()
    for index in (30_000_000, 2):
        function = {"name": f"f{index}", "arguments": ""}
        answer.add(chunk(tool_calls=[{"index": index, "function": function}]))
    assert answer.calls_as_text() == ["f2()", "f30000000()"]


@pytest.mark.parametrize(
    ("delta", "text", "only_reasoned"),
    [
        ({"refusal": "no"}, "no", False),
        ({"reasoning_content": "hm"}, "", True),
        ({"reasoning": "hm", "content": "yes"}, "yes", False),
    ],
)
def test_a_refusal_is_an_answer_and_reasoning_is_none(
    delta: dict[str, str], text: str, only_reasoned: bool
) -> None:
    answer = Answer()
    assert answer.add(chunk(**delta)) == text
    assert answer.only_reasoned == only_reasoned
