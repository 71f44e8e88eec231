"""The command line at endpoints that answer oddly: one line that says so, and no traceback."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.command_line import command_line, terminal
from tests.support.threaded_server import serving

ESCAPE = "\x1b]0;mine\x07\x1b[2J\u009b31m"
STARTED = {"id": "j", "status": "IN_QUEUE"}


class OddEndpoint:
    """Answers each path with what is set for it, and remembers what it was asked.

    A list is answered one after the other, the last one again and again. Text is sent as it is.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.url = ""
        methods = ["GET", "POST"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        known = self.answers.get(path, {"object": "list", "data": [{"id": "m"}]})
        if isinstance(known, list):
            known = known.pop(0) if len(known) > 1 else known[0]
        if isinstance(known, int):
            return Response(status_code=known)
        if isinstance(known, dict):
            return Response(json.dumps(known), media_type="application/json")
        kind = "text/event-stream" if known.startswith("data:") else "application/json"
        return Response(known, media_type=kind)


@pytest.fixture
def odd() -> Iterator[OddEndpoint]:
    endpoint = OddEndpoint()
    with serving(endpoint.app) as endpoint.url:
        yield endpoint


def events(*deltas: dict[str, Any]) -> str:
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, end])


BOOM = {"error": {"message": "boom"}}
DEEP = "[" * 100_000
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SOUND = "/v1/audio/transcriptions"
JOB = "/status/j"


@pytest.mark.parametrize(
    ("path", "answer", "words", "said"),
    [
        (CHAT, BOOM, ["chat", "hi"], "boom"),
        (CHAT, BOOM, ["chat", "hi", "--raw"], "boom"),
        (CHAT, "null", ["chat", "hi", "--raw"], "something else than a JSON object"),
        (COMPLETIONS, BOOM, ["complete", "hi"], "boom"),
        (COMPLETIONS, BOOM, ["complete", "hi", "--raw"], "boom"),
        (SOUND, BOOM, ["transcribe", "/dev/null"], "boom"),
        (SOUND, {}, ["transcribe", "/dev/null"], "another form"),
        ("/v1/embeddings", BOOM, ["embed", "a"], "boom"),
        ("/v1/embeddings", {"data": []}, ["embed", "a", "b"], "0 vectors came for 2 texts"),
        ("/v1/embeddings", {"data": [{"index": None}]}, ["embed", "a"], "another form"),
        ("/v1/embeddings", DEEP, ["embed", "a", "-m", "m"], "another form"),
        ("/v1/models", {"data": []}, ["models"], "lists no model"),
        ("/v1/models", {"data": [{"id": "m", "created": 1e20}]}, ["models"], "another form"),
        ("/v1/models", DEEP, ["models"], "another form"),
        ("/tokenize", BOOM, ["tokenize", "a"], "another form"),
        ("/tokenize", "[1]", ["tokenize", "a"], "another form"),
        (JOB, {}, ["job", "status", "j"], "something else than a job"),
        (JOB, {"id": "j", "status": None}, ["job", "status", "j", "-w"], "else than a job"),
        ("/cancel/j", {}, ["job", "cancel", "j"], "something else than a job"),
        ("/retry/j", {"error": ["a", "b"]}, ["job", "retry", "j"], "a; b"),
        ("/purge-queue", {}, ["purge", "--yes"], "does not say how many"),
    ],
)  # fmt: skip
def test_an_odd_answer_is_one_line(
    odd: OddEndpoint, path: str, answer: Any, words: list[str], said: str
) -> None:
    odd.answers[path] = answer
    ran = command_line(*words, "--url", odd.url)
    assert ran.returncode in (1, 3), ran.stdout
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("vllm-worker: ")
    assert said in line


@pytest.mark.parametrize("word", ["sync", "stream"])
def test_a_job_is_not_lost_with_its_endpoint(odd: OddEndpoint, word: str) -> None:
    odd.answers |= {"/health": {"workers": {}}, "/run": STARTED, "/cancel/j": STARTED}
    odd.answers |= {"/status/j": 502, "/stream/j": 502}
    ran = command_line("job", word, "hi", "--url", odd.url)
    assert ran.returncode == 1
    assert "job j is cancelled" in ran.stderr
    assert odd.asked[-1] == "/cancel/j"


@pytest.mark.parametrize("word", ["sync", "stream"])
def test_a_job_that_no_worker_takes_is_given_up_in_time(odd: OddEndpoint, word: str) -> None:
    odd.answers |= {"/health": {"workers": {}}, "/run": STARTED, "/cancel/j": STARTED}
    odd.answers |= {"/status/j": STARTED, "/stream/j": STARTED | {"stream": []}}
    ran = command_line("job", word, "hi", "--timeout", "1", "--url", odd.url)
    assert ran.returncode == 3
    assert "job j is cancelled" in ran.stderr


def test_a_job_ends_with_its_command(odd: OddEndpoint) -> None:
    odd.answers |= {"/run": STARTED, "/cancel/j": STARTED}
    part = {"id": "j", "status": "IN_PROGRESS", "stream": [{"output": "a" * 1000}]}
    odd.answers["/stream/j"] = part
    with terminal("job", "stream", "hi", "--url", odd.url) as window:
        window.wait_for('"aaa')
        window.process.terminate()
        assert window.exit_code() == 143
    assert "job j is cancelled" in window.screen
    assert odd.asked[-1] == "/cancel/j"


def test_the_reason_of_a_failed_job_is_told(odd: OddEndpoint) -> None:
    failed = {"id": "j", "status": "FAILED"}
    odd.answers |= {"/health": {"workers": {}}, "/run": STARTED}
    told = json.dumps({"error_type": "<class 'E'>", "error_message": "the real reason"})
    odd.answers["/status/j"] = failed | {"error": told}
    assert "FAILED: the real reason" in command_line("job", "sync", "a", "--url", odd.url).stderr
    odd.answers["/status/j"] = failed | {"output": {"error": "the reason"}}
    odd.answers["/stream/j"] = failed | {"stream": []}
    assert "FAILED: the reason" in command_line("job", "stream", "a", "--url", odd.url).stderr


def test_nothing_is_cut_or_made_into_pictures_in_a_pipe(odd: OddEndpoint) -> None:
    name = f"org/{'a' * 100}:100:x"
    odd.answers["/v1/models"] = {"data": [{"id": name}]}
    assert name in command_line("models", "--url", odd.url, COLUMNS="5").stdout


@pytest.mark.parametrize(
    ("words", "path", "answer"),
    [
        (["chat", "hi"], CHAT, events({"content": f"a {ESCAPE} b"})),
        (["chat", "hi"], CHAT, BOOM | {"error": {"message": f"a {ESCAPE} b"}}),
        (["models"], "/v1/models", {"data": [{"id": f"a {ESCAPE} b"}]}),
        (["job", "status", "j"], JOB, {"id": f"a {ESCAPE} b", "status": "COMPLETED"}),
        (["job", "status", "j"], JOB, {"id": "j", "status": "FAILED", "error": f"a {ESCAPE} b"}),
    ],
)
def test_what_others_wrote_does_not_command_a_terminal(
    odd: OddEndpoint, words: list[str], path: str, answer: Any
) -> None:
    odd.answers[path] = answer
    with terminal(*words, "--url", odd.url) as window:
        window.exit_code()
    assert " b" in window.written
    assert not [sign for sign in ("\x1b]0;", "\x1b[2J", "\u009b") if sign in window.written]


def test_text_that_looks_like_html_is_shown(odd: OddEndpoint) -> None:
    text = "Use vector<int> and\n\n<div>\nthis\n</div>\n\nDone."
    odd.answers[CHAT] = events({"content": text})
    with terminal("chat", "hi", "--url", odd.url) as window:
        assert window.exit_code() == 0
    assert "vector<int>" in window.screen
    assert "<div>" in window.screen


def test_a_turn_that_fails_does_not_end_the_conversation(odd: OddEndpoint, tmp_path: Path) -> None:
    odd.answers[CHAT] = [BOOM, events({"content": "fine"})]
    with terminal("chat", "--url", odd.url) as window:
        window.wait_for("> ")
        window.type("first\n")
        window.wait_for("boom")
        window.type("second\n")
        window.wait_for("fine")
        window.type(f"/save {tmp_path / 'saved.json'}\n")
        window.wait_for("2 messages are in")
        window.type("/exit\n")
        assert window.exit_code() == 0
    said = [message["content"] for message in json.loads((tmp_path / "saved.json").read_text())]
    assert said == ["second", "fine"]


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (["models"], {"SSL_CERT_FILE": "/nonexistent"}, "cannot be asked"),
        (["models"], {"http_proxy": "socks5://127.0.0.1:9"}, "cannot be asked"),
        (["models", "--timeout", "inf"], {}, "less than or equal to 604800"),
        (["models", "--timeout", "nan"], {}, "less than or equal to 604800"),
        (["job", "run", '{"a": NaN}'], {}, "NaN is not JSON"),
        (["job", "run", "{" + DEEP], {}, "is not JSON"),
        (["chat", "a\udcff"], {}, "is not UTF-8"),
        (["key", "Alice Smith"], {}, "no name of a key"),
        (["url", "--url", "user:S3CRET@host"], {}, "has no password"),
        (["url", "--url", "http://user:S3#CRET@host/"], {}, "has no password"),
        (["url"], {"OPENAI_BASE_URL": "http://u:S3CRET@host#"}, "has no password"),
        (["profile", "add", "", "--url", "http://h"], {}, "has a name"),
    ],
)
def test_a_mistake_is_one_line(
    odd: OddEndpoint, words: list[str], environ: dict[str, str], said: str
) -> None:
    where = ["--url", odd.url] if words[0] in ("models", "job", "chat") else []
    ran = command_line(*words, *where, **environ)
    assert ran.returncode in (1, 2)
    assert said in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr
    assert "S3" not in ran.stderr
