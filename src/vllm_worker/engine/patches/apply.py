"""The patches, put in force by one call before the engine is built.

beam_search.py alone waits for vLLM's application: `VLLMEngine.start` installs it.
"""

import logging

from vllm_worker.configuration.catalogue import vllm_version
from vllm_worker.engine.patches import core_process, seams
from vllm_worker.errors import ConfigurationError
from vllm_worker.streaming.flow_control import FlowGrade

logger = logging.getLogger(__name__)

_NEEDS = {
    FlowGrade.STATE: (
        "RequestState",
        "RequestState.make_request_output",
        "RequestState.from_new_request",
    ),
    FlowGrade.COLLECTOR: ("RequestOutputCollector",),
    FlowGrade.INTERVAL: (),
    FlowGrade.OFF: (),
}
"""Grade of flow control → the seams that it needs. The first that has all of them is the best."""


def apply(flow_control: str, may_fork: bool) -> FlowGrade:
    """Check every seam, replace what the worker replaces, and return the grade of flow control.

    `flow_control` is FLOW_CONTROL. Raises StartFailure for a vLLM that lacks what is required,
    ConfigurationError for a grade that the installed one does not offer.
    """
    seams.check()
    if seams.usable("run_engine_core"):
        core_process.start_by_worker()
    if may_fork and seams.usable("get_mp_context"):
        core_process.fork()
    offered = [grade for grade, names in _NEEDS.items() if seams.usable(*names)]
    if flow_control != "auto" and flow_control not in offered:
        raise ConfigurationError(
            [
                f"FLOW_CONTROL={flow_control}: vLLM {vllm_version()} has another inside. "
                f"Possible are: auto, {', '.join(offered)}."
            ]
        )
    grade = offered[0] if flow_control == "auto" else FlowGrade(flow_control)
    if grade is FlowGrade.STATE:
        from vllm_worker.engine.patches import request_state  # elsewhere it may not import

        request_state.install()
    logger.info("flow control of streams: %s", grade)
    return grade
