"""All attributes of other people's code that are replaced, put in force by one call."""

import argparse

from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.engine.patches import (
    core_process,
    non_finite_json,
    request_state,
    request_validation,
    structured_outputs,
)


def apply(arguments: argparse.Namespace, limits: Limits) -> None:
    """To be called before the engine is built; `arguments` are those of `vllm serve`."""
    connectors = arguments.kv_transfer_config, arguments.ec_transfer_config
    request_state.install(has_connector=any(connectors))
    request_validation.install()
    core_process.end_without_traceback()
    non_finite_json.install()
    structured_outputs.install(limits)
