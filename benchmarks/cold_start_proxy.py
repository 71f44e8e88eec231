"""The start that workers in use have: `vllm serve` is started, and asked every two seconds whether
it is up; then the SDK's loop begins. The arguments are those of `vllm serve`.

The SDK is imported while the server starts, which costs this start no time.
"""

import http.client
import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

_POLL_S = 2.0


def is_up() -> bool:
    connection = http.client.HTTPConnection(urlsplit(os.environ["BENCHMARK_SERVER"]).netloc)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main() -> None:
    module = "vllm.entrypoints.launchers.api_server.entry"
    server = subprocess.Popen([sys.executable, "-m", module, *sys.argv[1:]])
    try:
        import runpod

        from benchmarks.proxy_worker import handle

        while not is_up():
            assert server.poll() is None, "vLLM's server did not start"
            time.sleep(_POLL_S)
        sys.argv[1:] = []  # the SDK has arguments of its own
        options = {"handler": handle, "return_aggregate_stream": True}
        runpod.serverless.start(options | {"concurrency_modifier": lambda _: 300})
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
