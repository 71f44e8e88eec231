"""Tells the local endpoint how its worker is, for the playground."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from vllm_worker.observability.self_report import SelfReport
from vllm_worker.observability.timeline import timeline

PATH = "/playground/worker"
_EVERY_S = 1.0
_POST_S = 1.0


class Reporter:
    """`url` is the endpoint's, `authorization` the header of a worker's requests."""

    def __init__(self, url: str, authorization: str, report: SelfReport) -> None:
        self._address = urlsplit(url)
        self._headers = {"Content-Type": "application/json", "Authorization": authorization}
        self._report = report

    def post(self) -> None:
        """One report. That it does not arrive is no reason to fail."""
        address = self._address
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=_POST_S
        )
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", PATH, json.dumps(self._report.view()), self._headers)
            connection.getresponse().read()
        connection.close()

    @contextmanager
    def during_start(self) -> Iterator[None]:
        """Report after each part of the start; not from a thread, since the engine is forked."""
        timeline.tell(self.post)
        try:
            yield
        finally:
            timeline.tell(lambda: None)

    @contextmanager
    def each_second(self) -> Iterator[None]:
        """Report from a thread, which sees a loop that hangs."""
        over = threading.Event()

        def report() -> None:
            while not over.wait(_EVERY_S):
                self.post()

        threading.Thread(target=report, daemon=True, name="playground").start()
        try:
            yield
        finally:
            over.set()
