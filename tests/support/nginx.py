"""nginx as a stand-in for RunPod's load balancer."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.http_worker import free_port

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream workers {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://workers;
            proxy_buffering off;
            proxy_next_upstream error http_429 http_503 non_idempotent;
        }}
    }}
}}
"""


@contextmanager
def balancer(urls: list[str], folder: Path) -> Iterator[str]:
    """The URL under which the workers are asked in turn, and the next one when one refuses."""
    assert PROGRAM
    port = free_port()
    addresses = [url.removeprefix("http://") for url in urls]
    servers = "\n".join(f"        server {address} max_fails=0;" for address in addresses)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, servers=servers, port=port))
    process = subprocess.Popen([PROGRAM, "-c", configuration, "-p", folder, "-e", folder / "start"])
    try:
        _wait_until_open(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx did not start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("nginx does not listen")
