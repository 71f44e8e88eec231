"""Audio to text: as a file where an endpoint takes files, else inside of a job."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_worker.client.endpoint import Endpoint
from vllm_worker.client.errors import check_object
from vllm_worker.client.messages import read_bytes
from vllm_worker.client.queue import output_of, queue_of

if TYPE_CHECKING:
    import openai


def transcription(
    endpoint: Endpoint,
    client: "openai.OpenAI",
    file: Path,
    fields: dict[str, Any],
    timeout_s: float,
) -> dict[str, Any]:
    """The answer of /v1/audio/transcriptions. RunPod's gateway takes no files, so a job is sent."""
    content = read_bytes(file)
    if not endpoint.is_queue:
        heard = client.audio.transcriptions.create(file=(file.name, content), **fields)
        return check_object(
            heard.model_dump(exclude_none=True, warnings=False), endpoint.openai_url
        )
    audio = {"filename": file.name, "data": base64.b64encode(content).decode()}
    job = {
        "openai_route": "/v1/audio/transcriptions",
        "openai_input": fields | {"file": audio},
    }
    with queue_of(endpoint, timeout_s) as queue:
        return check_object(output_of(queue.run_sync(job)), endpoint.url)
