"""Simon Willison's llm, on the command line, with the model in its file of other models."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOOL = '''
def get_weather(city: str) -> str:
    """Get the current weather in a given location"""
    return '{"temperature": "19 degrees", "condition": "cloudy"}'
'''
QUESTION = "What is RunPod?"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
}


def llm(*arguments: str) -> str:
    command = [Path(sys.executable).with_name("llm"), *arguments]
    where = ["-m", os.environ["MODEL"], "--key", os.environ["OPENAI_API_KEY"]]
    options = [*where, "-o", "temperature", "0", "-o", "max_tokens", "160"]
    environment = os.environ | {"LLM_USER_PATH": folder}
    return subprocess.run(
        [*command, *options], env=environment, text=True, capture_output=True, check=True
    ).stdout


with tempfile.TemporaryDirectory() as folder:
    model = {
        "model_id": os.environ["MODEL"],
        "model_name": os.environ["MODEL"],
        "api_base": os.environ["OPENAI_BASE_URL"],
        "api_key_name": "worker",  # it sends none otherwise, not even --key
        "supports_schema": True,
        "supports_tools": True,
    }
    (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps([model]))
    answer = llm("--no-stream", QUESTION).strip()
    streamed = llm(QUESTION).strip()
    told = llm("--functions", TOOL, "What is the weather in Paris?").strip()
    judged = llm("--schema", json.dumps(SCHEMA), "Which colour is the sky?")

print(
    json.dumps(
        {
            "answer": answer,
            "streamed": [streamed],
            "told": told,
            "structured": json.loads(judged),
        }
    )
)
