"""A soak's clients: each plays one planned job, and says what is wrong with what it got."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from tests.soak.plan import SCHEMA, PlannedJob
from tests.support.http_requests import as_request
from tests.support.http_worker import HEADERS

_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@dataclass(frozen=True, slots=True)
class Played:
    """`wrong` is None when all is well; `text` is the whole answer of a job that completed."""

    job: PlannedJob
    job_id: str
    wrong: str | None = None
    text: str = ""


class Wrong(Exception):
    """What a client got is not what it should have got."""


class Player(Protocol):
    """What plays jobs."""

    async def play(self, job: PlannedJob) -> Played:
        """Does to the job what its fate says."""


class Client:
    """Plays jobs at RunPod's side. `http` has the base URL …/v2/ENDPOINT_ID; jobs in `doomed` are
    to be cancelled while a chunk of theirs is posted.
    """

    def __init__(self, http: httpx.AsyncClient, doomed: set[str]) -> None:
        self._http = http
        self._doomed = doomed

    async def play(self, job: PlannedJob) -> Played:
        """Does to the job what its fate says."""
        job_id, text = "", ""
        try:
            match job.fate:
                case "left":
                    return Played(job, await self._leave(job))
                case "completed" if not job.native:
                    job_id, text = await self._ask_gateway(job)
                    return Played(job, job_id, _problem(job, text), text)
                case "completed" | "refused":
                    job_id = await self._run(job)
                    text = await self._wait(job, job_id)
                    return Played(job, job_id, _problem(job, text), text)
                case _:
                    job_id = await self._run(job)
                    await self._cancel(job, job_id)
                    return Played(job, job_id)
        except Wrong as wrong:
            return Played(job, job_id, str(wrong))

    async def _run(self, job: PlannedJob) -> str:
        content = json.dumps({"input": job.input})  # which may have NaN in it
        answer = await self._http.post("/run", content=content)
        return str(answer.json()["id"])

    async def _cancel(self, job: PlannedJob, job_id: str) -> None:
        if job.fate == "cancelled in mid-post":
            self._doomed.add(job_id)
        else:
            if job.fate == "cancelled late":
                await asyncio.sleep(job.delay)
            await self._http.post(f"/cancel/{job_id}")
        status = (await self._until_final(job_id, []))["status"]
        if status not in ("CANCELLED", "COMPLETED"):  # completed: it was faster
            raise Wrong(f"{status} after a cancel")

    async def _wait(self, job: PlannedJob, job_id: str) -> str:
        chunks: list[Any] = []
        final = await self._until_final(job_id, chunks)
        if job.code is not None:
            if final["status"] != "FAILED" or json.loads(final["error"])["code"] != job.code:
                raise Wrong(f"not refused with {job.code}: {final}")
            return ""
        if final["status"] != "COMPLETED":
            raise Wrong(f"not completed: {final}")
        if job.stream and chunks != final["output"]:
            raise Wrong("the chunks are not those of the output")
        return "".join(
            text for output in final["output"] for text in output["choices"][0]["tokens"]
        )

    async def _until_final(self, job_id: str, chunks: list[Any]) -> dict[str, Any]:
        """The job at its end; what it streams comes into `chunks`."""
        while True:
            answer = (await self._http.post(f"/stream/{job_id}")).json()
            chunks += [chunk["output"] for chunk in answer["stream"]]
            if answer["status"] in _FINAL and not answer["stream"]:
                return dict((await self._http.get(f"/status/{job_id}")).json())

    async def _ask_gateway(self, job: PlannedJob) -> tuple[str, str]:
        """The id of the job and its text, as OpenAI's clients get it."""
        route, body = job.input["openai_route"], job.input["openai_input"]
        answer = await self._http.post(f"/openai{route}", json=body)
        if answer.status_code != 200:
            raise Wrong(f"status {answer.status_code}: {answer.text}")
        job_id = answer.headers["X-Job-Id"]
        if not job.stream:
            return job_id, _text(answer.json()["choices"][0])
        events = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
        if events.pop() != "[DONE]":
            raise Wrong("the stream has no end")
        return job_id, "".join(_text(json.loads(event)["choices"][0]) for event in events)

    async def _leave(self, job: PlannedJob) -> str:
        """A client that closes its connection, before or while the answer comes."""
        route, body = job.input.get("openai_route"), job.input.get("openai_input")
        if route is None:
            route, body = "/v1/completions", {"model": "demo", "prompt": "x", "max_tokens": 200}
        content = json.dumps(body | {"stream": True})
        job_id = ""
        try:
            async with (
                asyncio.timeout(job.delay),
                self._http.stream("POST", f"/openai{route}", content=content) as answer,
            ):
                job_id = answer.headers["X-Job-Id"]
                async for _ in answer.aiter_bytes():
                    pass
        except TimeoutError:
            pass
        return job_id


class HTTPClient:
    """Plays jobs as HTTP requests. One that is told to go elsewhere comes back."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def play(self, job: PlannedJob) -> Played:
        """Does to the job what its fate says."""
        if job.fate == "left":
            await self._leave(job)
            return Played(job, "")
        answer = await self._ask(job)
        job_id = answer.headers["x-request-id"] if answer.status_code == 200 else ""
        try:
            if job.code is not None:
                if answer.status_code != job.code:
                    raise Wrong(f"not refused with {job.code}: {answer.status_code}, {answer.text}")
                return Played(job, job_id)
            text = _text_of(job, answer)
        except Wrong as wrong:
            return Played(job, job_id, str(wrong))
        return Played(job, job_id, _problem(job, text), text)

    async def _ask(self, job: PlannedJob) -> httpx.Response:
        asked = as_request(job.input)
        assert asked
        while True:
            answer = await self._http.request(
                asked.method, asked.path, content=asked.content, headers=HEADERS
            )
            if answer.status_code != 429:
                return answer
            await asyncio.sleep(0.1)

    async def _leave(self, job: PlannedJob) -> None:
        asked = as_request(job.input)
        assert asked
        try:
            async with (
                asyncio.timeout(job.delay),
                self._http.stream(
                    asked.method, asked.path, content=asked.content, headers=HEADERS
                ) as answer,
            ):
                async for _ in answer.aiter_bytes():
                    pass
        except TimeoutError:
            pass


def _text_of(job: PlannedJob, answer: httpx.Response) -> str:
    if answer.status_code != 200:
        raise Wrong(f"status {answer.status_code}: {answer.text}")
    parts = [answer.text]
    if job.stream:
        *parts, end, _ = answer.text.split("\n\n")
        if end != "data: [DONE]":
            raise Wrong("the stream has no end")
    choices = [json.loads(part.removeprefix("data: "))["choices"] for part in parts]
    return "".join(_text(some[0]) for some in choices if some)


def _text(choice: dict[str, Any]) -> str:
    if "tokens" in choice:
        return "".join(choice["tokens"])
    if "delta" in choice:
        return choice["delta"].get("content") or ""
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def _problem(job: PlannedJob, text: str) -> str | None:
    """What is wrong with the text of a job that completed."""
    if job.fate != "completed":
        return None
    if job.with_schema:
        try:
            fits = json.loads(text).keys() == set(SCHEMA["required"])
        except ValueError:
            fits = False
        return None if fits else f"not by the schema: {text!r}"
    return None if text else "no text"
