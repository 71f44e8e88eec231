"""What a worker can say of itself, for the playground: its start, configuration, metrics."""

from collections.abc import Mapping
from typing import Any

from vllm_worker.observability.timeline import Timeline, timeline


class SelfReport:
    """Made when the configuration is known, which must have no secrets in it."""

    def __init__(
        self,
        configuration: Mapping[str, Any],
        versions: Mapping[str, str],
        start: Timeline = timeline,
    ) -> None:
        self._known = {"configuration": dict(configuration), "versions": dict(versions)}
        self._start = start

    def view(self) -> dict[str, Any]:
        """All of it as it is now; `metrics` as Prometheus has them, times in seconds."""
        from prometheus_client import generate_latest  # only where somebody looks

        start = self._start
        return self._known | {
            "ready": start.is_over,
            "parts": start.parts,
            "current_s": start.current_s,
            "metrics": generate_latest().decode(),
        }
