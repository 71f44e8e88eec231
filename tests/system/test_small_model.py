"""MODEL_NAME=smollm2: a real model, fetched from the package index, turned and served."""

import json
from pathlib import Path

import openai
import pytest

from tests.support.worker_process import running_worker
from vllm_worker.configuration import load_configuration

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_it_knows_things_and_follows_a_schema(tmp_path: Path) -> None:
    given = {"MODEL_NAME": "smollm2", "BASE_PATH": str(tmp_path)}
    quick = {"ENFORCE_EAGER": "1", "KV_CACHE_MEMORY_BYTES": str(2**29), "PORT": "0"}
    with running_worker(given | quick, until_ready=False) as worker:
        started = worker.wait_for(r"ready for jobs|smollm2 cannot be had: .*")[0]
        if not started.startswith("ready"):
            pytest.skip(f"no package index: {started}")
        url = worker.wait_for(r"OpenAI's base URL is (\S+),")[1]
        client = openai.OpenAI(base_url=url, api_key="none")

        def ask(text: str, **options: object) -> str:
            answer = client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": text}],
                temperature=0,
                max_tokens=60,
                **options,
            )
            return str(answer.choices[0].message.content)

        assert "Paris" in ask("What is the capital of France?")
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
        person = json.loads(ask("Describe a person as JSON.", response_format=form))
        assert set(person) == {"name", "age"}
    # The next start finds it, and everything that it was made from is gone.
    repository = tmp_path / "huggingface-cache/hub/models--smollm2"
    assert load_configuration(given).model == str(repository / "snapshots/0.1.2")
    assert [path.name for path in repository.iterdir()] == ["snapshots"]
