"""Puts a job to the worker and judges how it ends, whatever the job is."""

import json
import re
import time
from typing import Any
from urllib.parse import quote

import httpx

from tests.support.worker_process import ROOT

BOUND_S = 60
"""In which every job must have ended."""
_ERROR_FIELDS = {"message", "type", "param", "code"}
_NOT_IMPLEMENTED, _GONE = 501, 503
_ANTHROPICS = {"api_error": 500, "overloaded_error": _GONE}
"""Types of errors in Anthropic's form that are no fault of the client."""
_LEAK = re.compile(rf'Traceback|File "|site-packages|lib/python|{re.escape(str(ROOT))}')
"""What no message to a client may have in it."""

USUAL: list[dict[str, Any]] = [
    {
        "prompt": "What is RunPod?",
        "apply_chat_template": True,
        "sampling_params": {"temperature": 0, "max_tokens": 20},
    },
    {
        "openai_route": "/v1/chat/completions",
        "openai_input": {
            "messages": [{"role": "user", "content": "What is vLLM?"}],
            "temperature": 0,
            "guided_regex": "[a-zA-Z ]{20}",
        },
    },
]
"""Ordinary jobs, which have the same answer each time."""


class Wrong(Exception):
    """The worker did what it never should. Smaller inputs are looked for."""


class Stuck(BaseException):
    """A job has not ended, or nobody answers: nothing more can be learnt from this worker."""


class Asker:
    """Puts jobs to the endpoint in all the ways that clients have. May be used by many threads."""

    def __init__(self, url: str) -> None:
        self.gateway_url = f"{url}/v2/local/openai"
        self._url = f"{url}/v2/local"
        self._client = httpx.Client(timeout=BOUND_S + 10, trust_env=False)

    def ask(self, case: tuple[str, Any]) -> int:
        """The status with which a job ends; 200 for a good end. Raises Wrong, Stuck."""
        way, job_input = case
        ways = {"runsync": self._runsync, "stream": self._stream, "gateway": self._gateway}
        try:
            return ways[way](job_input)
        except httpx.HTTPError as error:
            raise Stuck(f"{way} {shown(job_input)}: {error!r}") from None
        except Wrong as wrong:
            raise Wrong(f"{wrong}\n    {way} {shown(job_input)}") from None

    def description(self) -> Any:
        """vLLM's OpenAPI document of its routes."""
        (document,) = self._good_answer({"openai_route": "/openapi.json"})
        return document

    def usual_answers(self) -> list[str]:
        """What ordinary jobs are answered."""
        answers = [self._good_answer(job) for job in USUAL]
        return [json.dumps(output["choices"]) for (output,) in answers]

    def _good_answer(self, job_input: Any) -> Any:
        answer = self._post(f"{self._url}/runsync", {"input": job_input}).json()
        if answer["status"] != "COMPLETED":
            raise Stuck(f"an ordinary job failed: {answer}")
        return answer["output"]

    def _runsync(self, job_input: Any) -> int:
        wait = {"wait": BOUND_S * 1000}
        return self._ended(self._post(f"{self._url}/runsync", {"input": job_input}, params=wait))

    def _stream(self, job_input: Any) -> int:
        response = self._post(f"{self._url}/run", {"input": job_input})
        if response.status_code != 200:
            return self._ended(response)
        job_id, status, started = response.json()["id"], "IN_QUEUE", time.monotonic()
        while status in ("IN_QUEUE", "IN_PROGRESS") and time.monotonic() < started + BOUND_S:
            status = _strict(self._client.get(f"{self._url}/stream/{job_id}").text)["status"]
        return self._ended(self._client.get(f"{self._url}/status/{job_id}"))

    def _gateway(self, job_input: Any) -> int:
        """Where the input cannot come from the gateway, it goes the direct way."""
        match job_input:
            case {"openai_route": str(route), "openai_input": dict(body), **rest}:
                if route.startswith("/") and not rest:
                    path = quote(route, errors="replace", safe="/?=&")
                    return judge(self._post(self.gateway_url + path, body))
        return self._runsync(job_input)

    def _post(self, url: str, value: Any, **options: Any) -> httpx.Response:
        # As Python writes it: httpx would refuse NaN and half a surrogate pair.
        return self._client.post(url, content=json.dumps(value), **options)

    def _ended(self, response: httpx.Response) -> int:
        """Of the endpoint's answer that has a job in it."""
        if response.status_code != 200:
            return judge(response)
        job = _strict(response.text)
        if job["status"] == "FAILED":
            return _code(_strict(job["error"]))
        if job["status"] != "COMPLETED":
            raise Stuck(f"a job has not ended after {BOUND_S} s: {response.text}")
        if not isinstance(job["output"], list):
            raise Wrong(f"the output is no list: {response.text[:500]}")
        return 200


def judge(response: httpx.Response) -> int:
    """The status of an answer over HTTP, or of the error in its stream. Raises Wrong."""
    status, text = response.status_code, response.text
    if status != 200:
        body = _strict(text)
        if isinstance(body["error"], str):
            return _refused(status, body["error"])
        return _code(_of_openai(body, status))
    kind = response.headers.get("content-type", "")
    if kind.startswith("application/json"):
        _strict(text)
    for line in text.splitlines() if kind.startswith("text/event-stream") else ():
        if line.startswith(('data: {"error"', 'data: {"type": "error"')):
            body = _strict(line.removeprefix("data: "))
            return _code(_of_openai(body, _ANTHROPICS.get(body["error"]["type"], 400)))
    return 200


def _of_openai(body: Any, status: int) -> Any:
    """The error in a body; one in Anthropic's form with the fields that it lacks."""
    if body.get("type") != "error":
        return body["error"]
    return {**body["error"], "param": None, "code": status}


def shown(job_input: Any) -> str:
    text = json.dumps(job_input)
    return text if len(text) <= 2000 else f"{text[:2000]} … ({len(text)} characters)"


def _refused(status: int, message: str) -> int:
    """By the endpoint itself, which answers with a sentence."""
    if not 400 <= status < 500:
        raise Wrong(f"status {status}: {message}")
    return status


def _code(error: Any) -> int:
    if not (isinstance(error, dict) and error.keys() == _ERROR_FIELDS):
        raise Wrong(f"this is no error of OpenAI's form: {error!r}")
    code, message = error["code"], error["message"]
    if code == _GONE:
        raise Stuck(f"the engine is dead: {message}")
    if not (400 <= code < 500 or code == _NOT_IMPLEMENTED):
        raise Wrong(f"code {code}: {message}")
    if not (isinstance(message, str) and message) or _LEAK.search(message):
        raise Wrong(f"no message for a client: {message!r}")
    return int(code)


def _strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError as error:
        raise Wrong(f"this is no JSON ({error}): {text[:500]!r}") from None
