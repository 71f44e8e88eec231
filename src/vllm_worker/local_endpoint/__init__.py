"""The local endpoint: RunPod's queue on one machine, both sides of its protocol.

A process of its own. Clients see RunPod's paths (`/v2/{endpoint}/run`, `…/openai/v1/…`), workers
see what the RunPod SDK calls (`…/job-take/…`, `…/job-done/…`). `start` runs it as a child process.
"""

from vllm_worker.local_endpoint.process import (
    EndpointProcess,
    EndpointStartError,
    start,
    worker_environment,
)

__all__ = ["EndpointProcess", "EndpointStartError", "start", "worker_environment"]
