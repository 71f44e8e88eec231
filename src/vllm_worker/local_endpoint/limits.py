"""RunPod's limits, as far as its documentation gives them, and the endpoint's own waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. [doc]: RunPod's documentation; the others are ours."""

    run_bytes: int = 10 * 1024**2  # [doc]
    runsync_bytes: int = 20 * 1024**2  # [doc]; the OpenAI gateway's too
    run_retention_s: float = 30 * 60  # how long a result is kept after the job's end [doc]
    runsync_retention_s: float = 60  # [doc]; the OpenAI gateway's too
    runsync_wait_s: float = 90  # [doc]
    runsync_wait_max_s: float = 300  # [doc]
    execution_timeout_s: float = 600  # [doc]
    ttl_s: float = 24 * 60 * 60  # from submission on, whatever the state [doc]
    stream_hold_s: float = 1  # how long /stream waits for a chunk
    poll_hold_s: float = 5  # a worker's exit waits for its polls, so not longer
    closing_hold_s: float = 0.2  # not 0: the SDK repeats an empty job-take at once
    pick_up_s: float = 0.3  # the SDK cannot stop a job before its next look, each 0.1 s
    worker_silence_s: float = 30  # three times the SDK's interval between pings
