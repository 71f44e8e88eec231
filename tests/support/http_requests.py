"""Jobs as requests over HTTP."""

import json
import re
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request over HTTP."""

    method: str
    path: str
    content: str


def as_request(job: Any) -> Asked | None:
    """The request that says what the job says; None where only a job can say it."""
    if not isinstance(job, dict) or not (job.keys() & {"openai_route", "openai_input", "route"}):
        return Asked("POST", "/generate", json.dumps(job))
    if job.keys() == {"openai_route", "openai_input"}:
        path, body, method = job["openai_route"], job["openai_input"], None
    elif job.keys() <= {"route", "body", "method"}:
        path, body, method = job["route"], job.get("body"), job.get("method")
    else:
        return None
    if not (isinstance(path, str) and re.fullmatch(r"/[\w/-]+", path, re.ASCII)):
        return None
    if not isinstance(body, dict) or method not in (None, "POST", "GET"):
        return None
    return Asked(method or ("POST" if body else "GET"), path, json.dumps(body))
