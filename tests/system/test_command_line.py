"""The command line against a real worker: behind the local endpoint, and behind the HTTP door."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from tests.support.audio import sound
from tests.support.command_line import command_line, command_line_process, terminal
from tests.support.http_worker import KEY
from tests.support.running import running_endpoint
from tests.support.tool_calls import WEATHER
from tests.support.waiting import eventually
from tests.support.worker_process import ROOT, WorkerProcess, running_worker
from vllm_worker.__main__ import application
from vllm_worker.local_endpoint.process import EndpointProcess

OF_OTHER_MODELS = [("embed", "a text"), ("transcribe", "FILE")]
OF_A_QUEUE = [
    ("job", "run", "Hello"),
    ("job", "stream", "Once", "--max-tokens", "5"),
    ("job", "status", "JOB"),
    ("job", "retry", "JOB"),
    ("job", "cancel", "JOB"),
    ("purge", "--yes"),
]
OF_AN_ENDPOINT = [
    ("chat", "Hello", "--max-tokens", "5"),
    ("complete", "Once", "--max-tokens", "5"),
    ("models",),
    ("tokenize", "two words"),
    ("job", "sync", "Hello", "--max-tokens", "5"),
    ("health",),
    ("doctor",),
    ("bench", "--requests", "2", "--input-tokens", "4", "--output-tokens", "4"),
    ("url",),
    *OF_OTHER_MODELS,
    *OF_A_QUEUE,
]
"""Commands that ask an endpoint. JOB is a job that has failed, FILE one with a sound."""


@pytest.fixture(scope="module")
def fresh_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", params=["local endpoint", "HTTP door"])
def place(request: pytest.FixtureRequest) -> list[str]:
    """The options that lead to a worker."""
    if request.param == "HTTP door":
        _, url = request.getfixturevalue("door_worker")
        return ["--url", url, "--api-key", KEY]
    request.getfixturevalue("worker")
    return ["--url", request.getfixturevalue("endpoint").url]


@pytest.fixture
def local(worker: WorkerProcess, endpoint: EndpointProcess) -> list[str]:
    return ["--url", endpoint.url]


def good(*words: str, piped: str = "", **environ: str) -> str:
    """What a run that has to succeed prints."""
    ran = command_line(*words, piped=piped, **environ)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_chat_in_a_pipe_is_plain_text(place: list[str]) -> None:
    options = [*place, "--max-tokens", "10", "--temperature", "0"]
    said = good("chat", "What is vLLM?", *options)
    assert said.strip()
    assert "\x1b" not in said
    assert good("chat", "demo", "What is vLLM?", *options) == said
    assert good("chat", *options, piped="What is vLLM?\n") == said
    raw = json.loads(good("chat", "What is", *options, "--raw", piped="vLLM?"))
    assert raw["usage"]["completion_tokens"] <= 10
    prompt = raw["usage"]["prompt_tokens"]
    system = json.loads(good("chat", "What is vLLM?", *options, "--raw", "--system", "Be brief."))
    assert system["usage"]["prompt_tokens"] > prompt


def test_a_chat_follows_a_schema_and_calls_tools(place: list[str], tmp_path: Path) -> None:
    schema, tools = tmp_path / "colour.json", tmp_path / "tools.json"
    schema.write_text('{"enum": ["red", "green"]}')
    tools.write_text(json.dumps([WEATHER]))
    said = good("chat", "A colour", *place, "--json-schema", str(schema), "--temperature", "0")
    assert json.loads(said) in ("red", "green")
    asked = ["What is the weather in Paris?", "--temperature", "0", "--tools", str(tools)]
    assert re.fullmatch(r"get_weather\(\{.*\}\)\n", good("chat", *asked, *place))


def test_every_parameter_reaches_the_engine(place: list[str]) -> None:
    given = ["--top-p", "0.9", "--top-k", "5", "--min-p", "0.1", "--seed", "3", "--stop", "e",
             "--presence-penalty", "0.1", "--frequency-penalty", "0.1", "--max-tokens", "20",
             "--repetition-penalty", "1.1", "--set", "min_tokens=1", "--set", "n=2"]  # fmt: skip
    answer = json.loads(good("chat", "Hello there", *place, *given, "--raw"))
    assert len(answer["choices"]) == 2
    refused = command_line("chat", "Hello", *place, "--set", "temperature=hot")
    assert refused.returncode == 1
    assert "temperature" in refused.stderr


def test_text_routes(place: list[str]) -> None:
    went_on = good("complete", "Once upon", *place, "--max-tokens", "5", "--temperature", "0")
    assert went_on == good("complete", *place, "--max-tokens", "5", "--temperature", "0",
                           piped="Once upon")  # fmt: skip
    raw = json.loads(good("complete", "Once", *place, "--max-tokens", "5", "--raw"))
    assert raw["object"] == "text_completion"
    assert re.search(r"^demo +\d+ ", good("models", *place), re.MULTILINE)
    assert json.loads(good("models", *place, "--json"))[0]["id"] == "demo"
    number, _, *tokens = good("tokenize", "two words", *place).splitlines()
    assert number == f"{len(tokens)} tokens"
    count = json.loads(good("tokenize", *place, "--raw", piped="two words"))["count"]
    assert count == len(tokens)


def test_what_the_model_cannot_do_is_one_line(place: list[str], tmp_path: Path) -> None:
    file = tmp_path / "speech.wav"
    file.write_bytes(sound())
    for words in (["embed", "a text"], ["transcribe", str(file)]):
        ran = command_line(*words, *place)
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 1, ran.stderr
        assert "model" in ran.stderr


def test_jobs(local: list[str], tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text('{"input": {"prompt": "Once upon", "sampling_params": {"max_tokens": 5}}}')
    job = good("job", "run", f"@{file}", *local).strip()
    shown = good("job", "status", job, "--watch", *local)
    assert shown.startswith(f"job {job} COMPLETED · waited ")
    assert json.loads(shown.partition("\n")[2])
    assert json.loads(good("job", "status", job, "--json", *local))["status"] == "COMPLETED"
    output = json.loads(good("job", "sync", "Hello", "--chat", "--max-tokens", "5", *local))
    assert output["choices"]
    streamed = good(
        "job", "stream", "Once", "--max-tokens", "9", "--set", "ignore_eos=true", *local
    )
    assert len(streamed.splitlines()) > 1
    ran = command_line("job", "retry", job, *local)
    assert ran.returncode == 1
    assert "COMPLETED" in ran.stderr
    ran = command_line("job", "status", "unknown", *local)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    ran = command_line("job", "sync", '{"prompt": "a", "sampling_params": {"top_p": 7}}', *local)
    assert ran.returncode == 1
    assert "FAILED: " in ran.stderr
    assert "top_p" in ran.stderr


def test_a_failed_job_runs_again(local: list[str]) -> None:
    wrong = '{"prompt": "a", "sampling_params": {"top_p": 7}}'
    job = good("job", "run", wrong, *local).strip()
    assert good("job", "status", job, "--watch", *local).startswith(f"job {job} FAILED")
    assert good("job", "retry", job, *local).startswith(f"job {job} IN_QUEUE")
    shown = good("job", "status", job, "--watch", *local)
    assert shown.startswith(f"job {job} FAILED")
    assert "top_p" in shown


def test_jobs_of_a_door_without_a_queue(door_url: str) -> None:
    door = ["--url", door_url, "--api-key", KEY]
    output = json.loads(good("job", "sync", "Hello", "--max-tokens", "5", *door))
    assert output["choices"]
    assert "ready" in good("health", *door)
    ran = command_line("job", "run", "Hello", *door)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1


def test_the_queue_is_counted_and_emptied() -> None:
    with running_endpoint() as endpoint:  # without a worker, so that jobs wait
        where = ["--url", f"{endpoint.url}/v2/local"]
        job = good("job", "run", "Hello", *where).strip()
        assert "IN_QUEUE" in good("job", "status", job, *where)
        assert re.search(r"jobs inQueue +1", good("health", *where))
        assert json.loads(good("health", "--json", *where))["jobs"]["inQueue"] == 1
        assert "CANCELLED" in good("job", "cancel", job, *where)
        good("job", "run", "Hello", *where)
        assert command_line("purge", *where, piped="n\n").returncode == 1
        assert good("purge", "--yes", *where) == "1 jobs removed\n"


def test_a_conversation_in_a_terminal(local: list[str]) -> None:
    options = ["--max-tokens", "1900", "--set", "ignore_eos=true"]
    with terminal("chat", *local, *options) as window:
        window.wait_for("> ")
        window.type("/set\n")
        window.wait_for("there is no /set")
        window.wait_for("> ")
        window.type("What is vLLM?\n")
        window.wait_for("vLLM is")
        window.type("\x03")
        window.wait_for("stopped")
        window.wait_for("> ")
        window.type("/exit\n")
        assert window.process.wait(30) == 0


def in_a_terminal(*words: str, **environ: str) -> tuple[int, str]:
    """The exit code of a run, and what was on the screen at its end."""
    with terminal(*words, **environ) as window:
        code = window.exit_code()
        assert "Traceback" not in window.screen
        return code, window.screen


@pytest.mark.parametrize("words", OF_AN_ENDPOINT, ids=" ".join)
def test_a_command_in_a_terminal(place: list[str], words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "speech.wav"
    file.write_bytes(sound())
    has_queue = KEY not in place
    job = "none"
    if has_queue:
        wrong = '{"prompt": "a", "sampling_params": {"top_p": 7}}'
        job = good("job", "run", wrong, *place).strip()
        good("job", "status", job, "--watch", *place)
    values = {"JOB": job, "FILE": str(file)}
    code, screen = in_a_terminal(*(values.get(word, word) for word in words), *place)
    refused = words in OF_OTHER_MODELS or (words in OF_A_QUEUE and not has_queue)
    assert code == (1 if refused else 0), screen
    assert screen.strip()
    if refused:
        assert "vllm-worker: " in screen


def test_commands_about_this_machine_in_a_terminal(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    with terminal("profile", "add", "p", "--endpoint", "abc", "--ask-key", **home) as window:
        window.wait_for("Key: ")  # with the space: from then on, nothing that is typed is shown
        window.type("rpa_secret\n")
        assert window.exit_code() == 0
        assert "rpa_secret" not in window.screen
    for words in (["profile", "use", "p"], ["profile", "list"], ["profile", "remove", "p"],
                  ["key", "alice"], ["config"], ["seams"]):  # fmt: skip
        code, screen = in_a_terminal(*words, **home)
        assert code == 0, screen
        assert "rpa_secret" not in screen
        assert "Triton not available" not in screen


def test_every_command_is_tried_in_a_terminal() -> None:
    known = typer.main.get_command(application())
    assert isinstance(known, TyperGroup)
    jobs = known.commands["job"]
    assert isinstance(jobs, TyperGroup)
    # gpu-check takes minutes, the gateway an environment of its own: they have tests of their own.
    elsewhere = {"profile", "key", "config", "seams", "gpu-check", "gateway"}
    assert {words[0] for words in OF_AN_ENDPOINT} == known.commands.keys() - elsewhere
    assert {words[1] for words in OF_AN_ENDPOINT if words[0] == "job"} == jobs.commands.keys()


def test_ctrl_c_in_one_answer_ends_the_command(local: list[str]) -> None:
    options = ["--max-tokens", "1900", "--set", "ignore_eos=true"]
    with terminal("chat", "What is vLLM?", *local, *options) as window:
        window.wait_for("vLLM is")
        window.type("\x03")
        window.wait_for("vllm-worker: stopped")
        assert window.process.wait(30) == 130


def test_a_process_in_a_pipe_says_the_same(local: list[str]) -> None:
    words = ["chat", *local, "--max-tokens", "10", "--temperature", "0"]
    ran = command_line_process(*words, piped="What is vLLM?")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == good(*words, piped="What is vLLM?")
    ran = command_line_process("models", "--url", "http://127.0.0.1:1")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)


def test_profiles(fresh_home: Path, place: list[str]) -> None:
    environ = {"HOME": str(fresh_home), "XDG_CONFIG_HOME": ""}
    good("profile", "add", "mine", *place, "--model", "demo", **environ)
    good("profile", "use", "mine", **environ)
    listed = good("profile", "list", **environ)
    assert "mine" in listed
    assert KEY not in listed
    assert "demo" in good("models", **environ)
    good("profile", "add", "other", "--endpoint", "abc123", **environ)
    assert "demo" in good("models", "--profile", "mine", **environ)
    good("profile", "remove", "mine", **environ)
    ran = command_line("models", "--profile", "mine", **environ)
    assert ran.returncode == 2
    assert "there is no profile 'mine'; there are other" in ran.stderr


def test_the_doctor_finds_nothing(place: list[str]) -> None:
    ran = command_line("doctor", *place, "--no-machine")
    assert ran.returncode == 0, ran.stdout
    assert "BAD" not in ran.stdout
    findings = json.loads(good("doctor", *place, "--json", "--no-machine"))
    assert [finding["check"] for finding in findings] == [
        "endpoint", "workers", "models", "model", "vLLM",
        "native job", "chat", "stream", "tool call", "JSON schema",
    ]  # fmt: skip
    assert good("doctor", *place, "--paste", "--no-machine").startswith("```\nok ")


def faults(*words: str, **environ: str) -> dict[str, str]:
    """What is wrong by the doctor, by check."""
    ran = command_line("doctor", "--json", *words, **environ)
    assert ran.returncode == 1, ran.stdout
    found = json.loads(ran.stdout)
    return {finding["check"]: finding["text"] for finding in found if finding["verdict"] == "bad"}


def test_the_doctor_finds_a_wrong_key_and_a_wrong_model(door_url: str, local: list[str]) -> None:
    here = ["--no-machine"]
    assert "does not accept the key" in str(faults("--url", door_url, "--api-key", "x", *here))
    assert "does not accept the key" in str(faults("--url", door_url, *here))
    wrong = faults(*local, "--model", "gpt-5", *here)
    assert wrong == {"model": "gpt-5 is not served here; requests have to name demo"}


def test_the_doctor_finds_a_volume_that_is_read_only(local: list[str], tmp_path: Path) -> None:
    from tests.support.mounts import read_only

    with read_only(tmp_path):
        wrong = faults(*local, "--machine", BASE_PATH=str(tmp_path))
    assert list(wrong) == ["volume"]
    assert "cannot be written to" in wrong["volume"]


@pytest.fixture
def endpoint_without_tools() -> Iterator[tuple[EndpointProcess, WorkerProcess]]:
    with (
        running_endpoint() as endpoint,
        running_worker(endpoint.environment | {"ENABLE_AUTO_TOOL_CHOICE": "0"}) as worker,
    ):
        yield endpoint, worker


def test_the_doctor_finds_no_tool_parser_and_then_no_engine(
    endpoint_without_tools: tuple[EndpointProcess, WorkerProcess],
) -> None:
    endpoint, worker = endpoint_without_tools
    where = ["--url", endpoint.url, "--no-machine"]
    wrong = faults(*where)
    assert list(wrong) == ["tool call"]
    assert wrong["tool call"].startswith("no tool parser: set ")
    worker.child("EngineCore").kill()
    assert worker.exit_code() == 1

    def is_named() -> bool:
        return "no worker takes jobs" in str(faults(*where, "--timeout", "2").get("workers"))

    eventually(is_named, 60)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chat", "a", "--url", "http://127.0.0.1:1"], "cannot be reached"),
        (["chat", "a", "--url", "127.0.0.1"], "is not the URL of an endpoint"),
        (["chat", "a", "--endpoint", "x", "--url", "http://h"], "cannot be combined with"),
        (["chat", "a b", "c d", "e"], "put TEXT in quotes"),
        (["chat", "a", "--json-schema", "/missing.json"], "cannot be read"),
        (["chat", "a", "--set", "x"], "NAME=VALUE"),
        (["job", "run", "{"], "not JSON"),
        (["models", "--profile", "missing"], "no profile"),
        (["profile", "add", "x"], "either --endpoint or --url"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, fresh_home: Path) -> None:
    ran = command_line(*words, HOME=str(fresh_home))
    assert ran.returncode in (2, 3)
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert not ran.stdout


def test_a_key_is_made_for_the_doors_file(tmp_path: Path) -> None:
    from vllm_worker.web.keys import Keys

    made = command_line("key", "alice")
    line = made.stderr.splitlines()[-1]
    file = tmp_path / "keys"
    file.write_text(line + "\n")
    secret = made.stdout.strip()
    assert secret not in line
    headers: dict[str, Any] = {"authorization": f"Bearer {secret}"}
    assert Keys([], file).name_of(headers) == "alice"


def test_a_load_test(place: list[str], tmp_path: Path) -> None:
    plot, chats = tmp_path / "bench.html", tmp_path / "chats.jsonl"
    load = ["--requests", "6", "--concurrency", "3", "--output-tokens", "8"]
    numbers = json.loads(good("bench", *place, *load, "--json", "--plot", str(plot)))
    assert (numbers["requests"], numbers["failed"]) == (6, 0)
    assert numbers["output_tokens"] == 6 * 8
    assert numbers["prompt_tokens"] >= 6 * 128
    assert plot.read_text().count('class="good"') >= 6
    chats.write_text('{"prompt": "Hello"}\n')
    shown = good("bench", *place, *load, "--dataset", str(chats), "--rate", "50")
    assert re.search(r"^first token( +[\d.]+){3}", shown, re.MULTILINE)
    ran = command_line("bench", *place, *load, "--model", "gpt-5")
    assert ran.returncode == 1
    assert "6 of 6 requests failed" in ran.stderr
    assert ran.stdout.count("gpt-5") == 1


def rows_of_others() -> list[str]:
    """Our commands in the table of docs/cli.md."""
    table = (ROOT / "docs/cli.md").read_text().partition("<!-- rows")[2].partition("<!-- end")[0]
    ours = [line.rsplit("| `", 1)[1].removesuffix("` |") for line in table.splitlines()[4:-1]]
    assert len(ours) == 11
    return list(dict.fromkeys(ours))


@pytest.mark.parametrize("ours", rows_of_others())
def test_the_commands_of_others_have_one_of_ours(
    ours: str, local: list[str], tmp_path: Path
) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    good("profile", "add", "NAME", *local, **environ)
    command, *words = shlex.split(ours.replace("URL", local[1]).replace("MODEL", "demo"))
    assert command == "vllm-worker"
    if words[0] == "transcribe":  # test_transcription.py has a model for it
        assert command_line(*words, **environ).returncode == 2
        return
    assert good(*words, **environ) or words[:2] == ["profile", "add"]
