"""`python -m vllm_worker.gateway FILE`, in LiteLLM's environment."""

import logging
import os
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.gateway.file import load

_WITHOUT_LITELLM = (
    "LiteLLM is not installed here. In the repository `make gateway FILE=…` makes an environment "
    "for it; elsewhere, install vllm-worker[gateway] where vLLM is not."
)
logger = logging.getLogger("vllm_worker.gateway")


def main(file: Path) -> int:
    """Serve as the file says; returns the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s gateway | %(message)s")
    logger.setLevel(logging.INFO)
    try:
        gateway = load(file, os.environ)
        if not find_spec("litellm"):
            raise StartFailure(_WITHOUT_LITELLM)
        from vllm_worker.gateway.proxy.app import serve

        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # LiteLLM prints
            serve(gateway, os.environ)
    except ConfigurationError as error:
        for problem in error.problems:
            logger.error("%s", problem)
        return 2
    except StartFailure as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
