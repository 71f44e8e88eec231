"""What the media connector fetches when the configuration names a domain."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY

from vllm_worker.engine import media_connector
from vllm_worker.jobs import public_fetch


class Site(BaseHTTPRequestHandler):
    """A picture, a redirect to it by another name of this host, and what is not there."""

    def do_GET(self) -> None:
        port = self.connection.getsockname()[1]
        if self.path == "/picture":
            file = io.BytesIO()
            Image.new("RGB", (4, 3), "red").save(file, "PNG")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(file.getvalue())
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{port}/picture")
            self.end_headers()
        else:
            self.send_error(500 if self.path == "/broken" else 404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


async def fetch(url: str, *domains: str, allow_urls: bool = True) -> Image.Image:
    media_connector.guard_media(allow_urls)
    connector = MEDIA_CONNECTOR_REGISTRY.load("vllm-worker", allowed_media_domains=list(domains))
    return await connector.fetch_image_async(url)


async def test_media_come_from_a_named_domain(site_url: str) -> None:
    assert (await fetch(f"{site_url}/picture", "example.com", "127.0.0.1")).size == (4, 3)


@pytest.mark.parametrize(
    ("path", "domains", "says"),
    [
        ("/picture", (), "could not be fetched from a public address"),
        ("/picture", ("example.com",), "allowed domains"),
        ("/elsewhere", ("127.0.0.1",), "identify image"),
        ("/broken", ("127.0.0.1",), "could not be fetched"),
    ],
)
async def test_media_that_are_not_fetched(
    site_url: str, path: str, domains: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        await fetch(f"{site_url}{path}", *domains)


async def test_media_come_from_any_public_address(
    site_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_fetch, "is_public", lambda address: address == "127.0.0.1")
    assert (await fetch(f"{site_url}/picture")).size == (4, 3)
    with pytest.raises(ValueError, match="could not be fetched: status 500"):
        await fetch(f"{site_url}/broken")


async def test_each_redirect_is_checked(site_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def first_only(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1

    monkeypatch.setattr(public_fetch, "is_public", first_only)
    with pytest.raises(ValueError, match="could not be fetched from a public address"):
        await fetch(f"{site_url}/elsewhere")
    assert len(asked) > 1


async def test_fetching_can_be_turned_off(site_url: str) -> None:
    with pytest.raises(ValueError, match="ALLOW_MEDIA_URLS"):
        await fetch(f"{site_url}/picture", allow_urls=False)


async def test_a_host_that_does_not_answer_is_not_described() -> None:
    with pytest.raises(ValueError, match="could not be fetched") as raised:
        await fetch("http://127.0.0.1:1/picture", "127.0.0.1")
    assert ":1" not in str(raised.value)
