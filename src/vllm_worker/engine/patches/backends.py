"""The backend of structured outputs, chosen for each request in the core's process.

vLLM's manager has one backend, that of its first request, whatever it chose for the others.
"""

import copy
from typing import Any

from vllm.v1.structured_output import StructuredOutputManager

from vllm_worker.engine.protocol import BACKEND

_grammar_init = StructuredOutputManager.grammar_init


def install() -> None:
    StructuredOutputManager.grammar_init = grammar_init


def grammar_init(manager: Any, request: Any) -> None:
    """As vLLM's, by a copy of the manager for each backend; the copies share all but the backend.

    The backend is the one that the request names under BACKEND, or that vLLM found for it. Where it
    looked for one and came to outlines, which ignores keywords, it is guidance, which refuses them.
    """
    if request.structured_output_request is None:
        return
    structured = request.sampling_params.structured_outputs
    if structured._backend_was_auto and structured._backend == "outlines":
        structured._backend = "guidance"
    if wanted := (request.sampling_params.extra_args or {}).get(BACKEND):
        structured._backend = wanted
    copies = vars(manager).setdefault("_by_backend", {})
    if structured._backend not in copies:
        copies[structured._backend] = copy.copy(manager)
        copies[structured._backend].backend = None
    own = copies[structured._backend]
    _grammar_init(own, request)
    manager.backend = manager.backend or own.backend  # it allocates the masks of all
