"""The workers the endpoint has heard of: the jobs each one holds and those it should stop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Worker:
    """One worker. `last_seen` is the queue's clock, in seconds."""

    id: str
    last_seen: float
    jobs: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    stop_arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, job_id: str) -> None:
        """Ask the worker to stop a job; its next or pending job-stop poll is told."""
        self.stops.add(job_id)
        self.stop_arrived.set()

    def take_stops(self) -> list[str]:
        """The ids of the jobs to stop; each is told once."""
        stops = sorted(self.stops)
        self.stops.clear()
        self.stop_arrived.clear()
        return stops


class Workers:
    """All workers by id. A silent one without jobs is forgotten."""

    def __init__(self, now: Callable[[], float], silence_s: float) -> None:
        self._now = now
        self._silence_s = silence_s
        self._by_id: dict[str, Worker] = {}

    def seen(self, worker_id: str) -> Worker:
        """The worker with this id, which has just been heard of."""
        worker = self._by_id.get(worker_id)
        if worker is None:
            self._forget_silent()
            worker = self._by_id[worker_id] = Worker(worker_id, self._now())
        worker.last_seen = self._now()
        return worker

    def get(self, worker_id: str | None) -> Worker | None:
        """The worker with this id, if it is known."""
        return self._by_id.get(worker_id) if worker_id is not None else None

    def jobs_in_progress(self) -> int:
        """Number of jobs that all workers hold."""
        return sum(len(worker.jobs) for worker in self._by_id.values())

    def counts(self) -> dict[str, int]:
        """The workers heard of lately, as /health shows them."""
        alive = [worker for worker in self._by_id.values() if not self._silent(worker)]
        running = sum(1 for worker in alive if worker.jobs)
        return {"idle": len(alive) - running, "running": running}

    def release_polls(self) -> None:
        """End every job-stop poll that is being held."""
        for worker in self._by_id.values():
            worker.stop_arrived.set()

    def _silent(self, worker: Worker) -> bool:
        return self._now() - worker.last_seen > self._silence_s

    def _forget_silent(self) -> None:
        gone = [w.id for w in self._by_id.values() if self._silent(w) and not w.jobs]
        for worker_id in gone:
            del self._by_id[worker_id]
