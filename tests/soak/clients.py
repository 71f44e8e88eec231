"""A soak's clients: each plays one planned job, and says what is wrong with what it got."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.soak.plan import SCHEMA, PlannedJob
from tests.soak.rig import Platform

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


class Client:
    """Plays jobs at RunPod's side. `http` has the base URL …/v2/ENDPOINT_ID."""

    def __init__(self, http: httpx.AsyncClient, platform: Platform) -> None:
        self._http = http
        self._platform = platform

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
            self._platform.doomed.add(job_id)
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


def _text(choice: dict[str, Any]) -> str:
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
