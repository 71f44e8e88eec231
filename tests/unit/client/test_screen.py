"""Answers as they come."""

import pytest

from vllm_worker.client.screen import answer_shown, split_blocks


@pytest.mark.parametrize(
    ("text", "complete", "rest"),
    [
        ("a", "", "a"),
        ("a\n\nb", "a", "b"),
        ("a\n \nb\n\nc", "a\n \nb", "c"),
        ("```\na\n\nb", "", "```\na\n\nb"),
        ("x\n\n```\na\n\nb", "x", "```\na\n\nb"),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```", "c"),
    ],
)
def test_a_block_is_complete_at_an_empty_line_outside_of_code(
    text: str, complete: str, rest: str
) -> None:
    assert split_blocks(text) == (complete, rest)


def test_a_pipe_gets_the_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with answer_shown() as view:
        for part in ("# a", "", "\n\n*b*"):
            view.add(part)
    assert capsys.readouterr().out == "# a\n\n*b*\n"


def test_people_see_markdown_once(capsys: pytest.CaptureFixture[str]) -> None:
    with answer_shown(markdown=True) as view:
        for part in ("# Title", "\n\n*one*", " two", "\n\n- three\n"):
            view.add(part)
    out = capsys.readouterr().out
    for word in ("Title", "one two", "• three"):
        assert out.count(word) == 1
    assert "*" not in out
