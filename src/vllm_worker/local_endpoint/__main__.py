"""`python -m vllm_worker.local_endpoint`: the endpoint in the foreground."""

import argparse
import json
import os
import socket
import sys
from pathlib import Path

from vllm_worker.local_endpoint.process import DEFAULT_ID, EndpointStartError, listen_on
from vllm_worker.local_endpoint.server import serve
from vllm_worker.web.keys import Keys


def main() -> None:
    """Parse the command line and serve until told to stop."""
    arguments = _arguments()
    try:
        keys = _keys()
    except ValueError as error:
        sys.exit(str(error))
    if arguments.fd is not None:
        listener = socket.socket(fileno=arguments.fd)
    else:
        try:
            listener = listen_on(arguments.host, arguments.port)
        except EndpointStartError as error:
            sys.exit(str(error))
        host, port = listener.getsockname()[:2]
        sys.stdout.write(
            f"local endpoint: http://{host}:{port}/v2/{arguments.endpoint_id or DEFAULT_ID}\n"
        )
        sys.stdout.flush()
    serve(listener, arguments.parent, keys, arguments.endpoint_id)


def _keys() -> Keys:
    text = os.environ.get("API_KEY", "")
    keys = json.loads(text) if text.startswith("[") else text.split(",")
    own = [key.strip() for key in keys if key.strip()]
    file = os.environ.get("API_KEYS_FILE")
    return Keys(own, Path(file) if file else None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m vllm_worker.local_endpoint", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    parser.add_argument("--endpoint-id", help="the only id that is served, instead of any")
    parser.add_argument("--fd", type=int, help="a listening socket, instead of host and port")
    parser.add_argument("--parent", type=int, help="end with this process; close on SIGINT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
