"""The gateway's file: mistakes are named all at once, each with its line and field."""

from pathlib import Path

import pytest

from vllm_worker.errors import ConfigurationError
from vllm_worker.gateway.file import GatewayFile, load

RIGHT = """
providers:
  cold: {endpoint: abc123, key: RUNPOD_API_KEY, wait: 20, price: 0.0003}
  warm: {load_balancer: xyz789, key: RUNPOD_API_KEY}
  pod: {url: "http://10.0.0.4:8000/v1", discover: team-a}
models:
  default/llama:
    - {provider: cold, model: meta-llama/Llama-3.1-8B-Instruct, weight: 3}
    - {provider: pod, model: llama, order: 2}
keys:
  alice: {key: ALICE_KEY, workspaces: [default], requests_per_minute: 60}
  bob@example.org: {sha256: 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b}
cache: {kind: disk, folder: /var/cache/gateway, ttl: 600}
"""
ENVIRONMENT = {"RUNPOD_API_KEY": "rpa_1", "ALICE_KEY": "a"}
POD = "providers: {pod: {url: 'http://h/v1', discover: default}}\n"

WRONG = {
    "": "1: must hold a mapping with providers and models",
    "[]": "1: must hold a mapping with providers and models",
    "providers: {pod: [\n": "2: not valid YAML: ",
    "providers: {}\n": "1: providers: must not be empty",
    "models: {}\n": "1: providers: is missing",
    POD + "modles: {}\n": '2: modles: is not a field here Did you mean "models"?',
    "providers:\n  pod: {url: nope, discover: default}\n":
        "2: providers.pod.url: should be a valid URL, relative URL without a base",
    "providers:\n  pod: {discover: default}\n":
        "2: providers.pod: needs one of endpoint, load_balancer and url",
    "providers:\n  pod: {endpoint: a, load_balancer: b, discover: default}\n":
        "2: providers.pod: needs one of endpoint, load_balancer and url",
    "providers:\n  pod: {endpoint: a/b, discover: default}\n":
        "2: providers.pod.endpoint: should be the id of an endpoint",
    "providers:\n  Pod: {endpoint: a, discover: default}\n":
        "2: providers.Pod: a name is of lower-case letters, digits and hyphens, 2 to 63",
    "providers:\n  pod: {endpoint: a, discover: default, key: rpa-secret}\n":
        "2: providers.pod.key: should be the name of an environment variable",
    "providers:\n  pod: {endpoint: a, discover: default, key: NOT_SET}\n":
        "2: providers.pod.key: the environment variable NOT_SET is not set",
    "providers:\n  pod:\n    endpoint: a\n    discover: default\n    wait: 0\n":
        "5: providers.pod.wait: should be greater than 0",
    "providers:\n  pod:\n    endpoint: a\n    discover: default\n    price: free\n":
        "5: providers.pod.price: should be a valid number",
    "providers:\n  pod: {endpoint: a}\n": "1: models: is empty, and no provider has discover",
    POD + "models:\n  meta/Llama-3.3: [{provider: pod, model: m}]\n":
        "3: models.meta/Llama-3.3: an entity is workspace/name, of lower-case letters, digits and "
        "hyphens, 2 to 63 characters each; default/meta-llama-3-3 would do",
    POD + "models:\n  llama: [{provider: pod, model: m}]\n":
        "3: models.llama: an entity is workspace/name, ",
    POD + "models:\n  default/llama: []\n": "3: models.default/llama: must not be empty",
    POD + "models:\n  default/llama:\n    - {provider: pdo, model: m}\n":
        "4: models.default/llama[0].provider: there is no provider pdo; there are pod",
    POD + "models:\n  default/llama:\n    - {provider: pod, model: m}\n    - {provider: pod}\n":
        "5: models.default/llama[1].model: is missing",
    POD + "models:\n  default/llama:\n    - provider: pod\n      model: m\n      weight: 0\n":
        "6: models.default/llama[0].weight: should be greater than or equal to 1",
    POD + "models:\n  default/one: [{provider: pod, model: m}]\n"
        "  default/one: [{provider: pod, model: n}]\n":
        "4: models.default/one: is there twice",
    POD + "keys:\n  al ice: {key: HOME}\n":
        "3: keys.al ice: a key's name is of letters, digits, and . @ - _, at most 64",
    POD + "keys:\n  alice: {}\n": "3: keys.alice: needs either key or sha256",
    POD + "keys:\n  alice: {sha256: secret}\n":
        "3: keys.alice.sha256: should be the 64 hexadecimal digits of a SHA-256",
    POD + "keys:\n  alice: {key: ALICE_KEY, workspace: default}\n":
        '3: keys.alice.workspace: is not a field here Did you mean "workspaces"?',
    POD + "keys:\n  alice: {key: ALICE_KEY, workspaces: [A]}\n":
        "3: keys.alice.workspaces[0]: a name is of lower-case letters, digits and hyphens",
    POD + "cache: {kind: memry}\n": "2: cache.kind: must be 'off', 'memory', 'disk' or 'redis'",
    POD + "cache: {kind: disk}\n": "2: cache: folder goes with kind: disk, and is needed there",
    POD + "cache: {kind: memory, url: REDIS_URL}\n":
        "2: cache: url goes with kind: redis, and is needed there",
    POD + "host: 0.0.0.0\n": "1: keys: are needed where others can reach 0.0.0.0",
    POD + "port: 70000\n": "2: port: should be less than or equal to 65535",
}  # fmt: skip
"""A file, and the line that its mistake gets."""


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "gateway.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load(file, ENVIRONMENT)
    return [problem.removeprefix(f"{file}:") for problem in raised.value.problems]


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_named_with_its_line_and_field(text: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(WRONG[text])


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = POD + "port: -1\nkeys:\n  alice: {}\ncache: {kind: memry}\n"
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == ["2", "4", "5"]


def test_no_value_of_a_key_is_quoted(tmp_path: Path) -> None:
    text = POD + "keys:\n  alice: {sha256: my-secret}\n  bob: {key: my-secret}\n"
    assert not [problem for problem in problems(tmp_path, text) if "my-secret" in problem]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gateway\.yaml: No such file"):
        load(tmp_path / "gateway.yaml", {})


@pytest.fixture
def right(tmp_path: Path) -> GatewayFile:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT)
    return load(file, ENVIRONMENT)


def test_a_right_file_says_where_each_provider_is(right: GatewayFile) -> None:
    assert {name: provider.base_url for name, provider in right.providers.items()} == {
        "cold": "https://api.runpod.ai/v2/abc123/openai/v1",
        "warm": "https://xyz789.api.runpod.ai/v1",
        "pod": "http://10.0.0.4:8000/v1",
    }


def test_what_is_not_said_has_a_value(right: GatewayFile) -> None:
    first, second = right.models["default/llama"]
    assert (first.weight, first.order, second.weight, second.order) == (3, 1, 1, 2)
    assert right.keys["bob@example.org"].workspaces is None
    assert (right.host, right.port, right.is_open) == ("127.0.0.1", 4000, False)
