"""The page's files: what they may do, and that nothing is missing or asked for elsewhere."""

import re

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from vllm_worker.playground.files import PREFIX, ROOT, file_response, is_file, welcome

OURS = sorted(path for path in ROOT.glob("*") if path.is_file())
VENDOR = ROOT / "vendor"


async def file(request: Request) -> Response:
    return file_response(request, request.path_params["name"])


async def root(request: Request) -> Response:
    return welcome(request, {"openai": "/v1"})


@pytest.fixture
def browser() -> TestClient:
    routes = [Route("/", root), Route(PREFIX + "{name:path}", file)]
    return TestClient(Starlette(routes=routes), headers={"Accept": "text/html"})


def test_a_browser_gets_the_page_and_a_program_the_places(browser: TestClient) -> None:
    assert "<title>vLLM worker</title>" in browser.get("/").text
    assert browser.get("/", headers={"Accept": "*/*"}).json() == {"openai": "/v1"}


def test_nothing_may_be_loaded_from_elsewhere(browser: TestClient) -> None:
    policy = browser.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    for path in OURS:
        # The namespace of SVG is a name, and nothing that is loaded.
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|\bon\w+=\"|style=\"", text), path.name


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_every_file_that_is_named_is_there(browser: TestClient, path: object) -> None:
    text = str(path) and (ROOT / str(path)).read_text()
    for name in re.findall(r"[\"']/playground/([\w./-]+)[\"']", text):
        if not name.endswith(".json"):
            assert browser.get(PREFIX + name).status_code == 200, name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.js", "text/javascript"),
        ("style.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
        ("vendor/marked.js", "text/javascript"),
    ],
)
def test_a_file_has_its_type(browser: TestClient, name: str, kind: str) -> None:
    response = browser.get(PREFIX + name)
    assert response.headers["content-type"].startswith(kind)
    assert response.headers["x-content-type-options"] == "nosniff"
    tag = response.headers["etag"]
    assert browser.get(PREFIX + name, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("name", ["", "../files.py", "%2e%2e/files.py", "vendor", "missing.js"])
def test_no_name_leads_elsewhere(browser: TestClient, name: str) -> None:
    assert browser.get(PREFIX + name).status_code == 404
    assert not is_file(PREFIX + name)


def test_what_needs_no_key() -> None:
    assert is_file(f"{PREFIX}app.js")
    assert not is_file(f"{PREFIX}jobs.json")
    assert not is_file("/metrics")


def test_a_file_is_small() -> None:
    for path in OURS:
        assert len(path.read_text().splitlines()) <= 300, path.name


def test_libraries_are_of_the_version_that_is_said() -> None:
    table = (VENDOR / "README.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)`[^|]*\| `(\w+)`[^|]*\| ([\d.]+) \|", table, re.MULTILINE)
    assert len(rows) == 3
    for name, package, version in rows:
        assert version in (VENDOR / name).read_text()[:1000], name
        assert (VENDOR / f"{package}.LICENSE").exists()
