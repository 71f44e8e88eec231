"""Which endpoint is meant, and how an answer is wanted."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from vllm_worker.client.errors import ClientError
from vllm_worker.client.options import Sampling, Where, expanded
from vllm_worker.client.profiles import Profile, Profiles, file_of, save


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "RUNPOD_API_KEY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    known = Profiles({"work": Profile("abc", api_key="work-key"), "home": Profile(url="http://h")})
    known.use = "home"
    save(known, file_of({"HOME": str(tmp_path)}))
    return tmp_path


def test_an_option_goes_before_the_environment_and_that_before_the_profile_in_use(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Where().find().url == "http://h"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://of-the-environment/v1")
    assert Where().find().url == "http://of-the-environment"
    assert Where(profile="work").find().url.endswith("/v2/abc")
    assert Where(url="http://given").find().url == "http://given"
    monkeypatch.delenv("OPENAI_BASE_URL")
    file_of({"HOME": str(home)}).unlink()
    assert Where().find().url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("option", ["endpoint", "url", "profile"])
def test_an_option_that_is_empty_is_no_other_endpoint(option: str) -> None:
    where = Where()
    setattr(where, option, " ")
    with pytest.raises(ClientError, match=f"--{option} is empty"):
        where.find()


@pytest.mark.parametrize("wrong", [{"temperature": float("nan")}, {"others": ["x=[NaN]"]}])
def test_a_number_that_json_does_not_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match=r"nan|NaN"):
        Sampling(**wrong).fields()


def test_each_endpoint_gets_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    monkeypatch.setenv("RUNPOD_API_KEY", "of-runpod")
    assert Where(endpoint="abc").find().key == "of-runpod"
    assert Where(url="https://abc.api.runpod.ai").find().key == "of-runpod"
    assert Where(url="http://elsewhere").find().key == "of-openai"
    assert Where(profile="work").find().key == "work-key"
    assert Where(profile="work", api_key="given").find().key == "given"
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert Where(endpoint="abc").find().key is None


def test_two_endpoints_at_once_are_refused() -> None:
    with pytest.raises(ClientError, match="--endpoint cannot be combined with --url"):
        Where(endpoint="abc", url="http://h").find()


def test_a_request_has_the_parameters_that_were_given() -> None:
    assert Sampling().fields() == {}
    given = Sampling(max_tokens=5, temperature=0.0, stop=["a"], others=["n=2", "user=me", "x=[1]"])
    assert given.fields() == {
        "max_tokens": 5, "temperature": 0.0, "stop": ["a"], "n": 2, "user": "me", "x": [1],
    }  # fmt: skip
    with pytest.raises(ClientError, match="--set takes NAME=VALUE, not 'n'"):
        Sampling(others=["n"]).fields()


def test_a_command_has_the_options_of_its_groups() -> None:
    seen = []

    def command(where: Where, sampling: Sampling, text: Annotated[str, typer.Argument()]) -> None:
        seen.append((where.url, sampling.max_tokens, text))

    app = typer.Typer()
    app.command()(expanded(command))
    result = CliRunner().invoke(app, ["--url", "http://h", "a text", "--max-tokens", "3"])
    assert result.exit_code == 0, result.output
    assert seen == [("http://h", 3, "a text")]
    assert CliRunner().invoke(app, ["a", "--max-tokens", "0"]).exit_code == 2
