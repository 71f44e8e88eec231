"""The playground in Debian's Chromium, before a real worker: by the local endpoint and by the door.

Screenshots of each view are in .playground/, beside the tests.
"""

import json
import math
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.browser import Page, browser_page
from tests.support.http_worker import KEY, http_worker
from tests.support.worker_process import ROOT, WorkerProcess, running_worker
from vllm_worker.local_endpoint.process import EndpointProcess

SHOTS = ROOT / ".playground"
LAST = "document.querySelector('.turn:last-child .exchange')"
IS_READY = "document.getElementById('model').options.length"


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with browser_page(tmp_path / "profile") as page:
        yield page
        origins = {urlsplit(url).netloc for url in page.urls if url.startswith("http")}
        assert len(origins) == 1, origins
        assert not page.errors


@pytest.fixture
async def local_page(page: Page, worker: WorkerProcess, endpoint: EndpointProcess) -> Page:
    await page.open(endpoint.url)
    await page.wait_for(IS_READY)
    return page


async def ask(page: Page, text: str, max_tokens: int = 60) -> None:
    await page.fill("#p-temperature", "0")
    await page.fill("#p-max_tokens", str(max_tokens))
    await page.fill("#text", text)
    await page.click("#send")


async def answer(page: Page, text: str, max_tokens: int = 60) -> str:
    """Ask, and what is said when the answer is complete."""
    await ask(page, text, max_tokens)
    await page.wait_for(LAST)
    return await page.text(".turn:last-child .said")


async def queue_job(page: Page, job_input: Any) -> None:
    """Queue a job from the page, as another program would."""
    body = json.dumps(json.dumps({"input": job_input}))
    await page.evaluate(f"fetch('/run', {{method: 'POST', body: {body}}})")


@pytest.mark.parametrize("form", ["openai", "native"])
async def test_an_answer_streams_and_shows_how_it_came(local_page: Page, form: str) -> None:
    page = local_page
    await page.click(f"[value={form}]")
    assert "vLLM" in await answer(page, "What is vLLM?")
    summary = await page.text(".exchange summary")
    assert "first token after" in summary
    assert "tokens/s" in summary
    assert int(summary.partition(" chunk")[0].rpartition(" ")[2]) > 1
    assert ("in the queue" in summary) == (form == "native")
    await page.click(".exchange summary")
    await page.wait_for("document.querySelector('.exchange canvas')")
    await page.screenshot(SHOTS / f"chat-{form}.png")


async def test_copied_programs_of_the_native_form_print_the_answer(
    local_page: Page, tmp_path: Path
) -> None:
    page = local_page
    await page.click("[value=native]")
    said = await answer(page, "What is RunPod?")
    await page.click(".exchange summary")
    await page.evaluate("navigator.clipboard.writeText = async () => {}")
    await page.click(".copy button:nth-child(2)")
    program = "document.querySelector('.copy button:nth-child(2)').dataset.copied"
    await page.wait_for(program)
    file = tmp_path / "copied.py"
    file.write_text(str(await page.evaluate(program)))
    ran = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.split() == said.split()


async def test_what_cannot_be_copied_is_shown(local_page: Page) -> None:
    page = local_page
    await answer(page, "What is vLLM?")
    await page.click(".exchange summary")
    # As a browser does on an address that is neither https nor this machine.
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await page.click(".copy button")
    await page.wait_for("document.querySelector('.copy textarea')")
    shown = "document.querySelector('.copy textarea').value"
    assert str(await page.evaluate(shown)).startswith("curl -sN http")


async def test_a_copied_curl_command_gives_the_same_answer(local_page: Page) -> None:
    said = await answer(local_page, "What is RunPod?")
    await local_page.click(".exchange summary")
    await local_page.evaluate("navigator.clipboard.writeText = async () => {}")
    await local_page.click(".copy button")
    copy = "document.querySelector('.copy button').dataset.copied"
    await local_page.wait_for(copy)
    command = shlex.split(str(await local_page.evaluate(copy)).replace("\\\n", " "))
    assert command[0] == "curl"
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    events = [line[6:] for line in ran.stdout.splitlines() if line.startswith("data: {")]
    deltas = [json.loads(event)["choices"] for event in events]
    text = "".join(choices[0]["delta"].get("content") or "" for choices in deltas if choices)
    assert text.split() == said.split()


async def test_an_answer_is_stopped_edited_and_asked_again(local_page: Page) -> None:
    page = local_page
    await ask(page, "Tell me a long story about a worker", 1500)
    await page.wait_for("document.querySelector('.turn:last-child .said').innerText.length > 20")
    await page.click("#stop")
    await page.wait_for(LAST)
    if "Stopped." not in await page.text(".turn:last-child .said"):
        pytest.fail(await page.text("#turns"))
    await page.click(".turn:last-child .who button")  # Retry
    await page.wait_for("document.querySelectorAll('.turn').length === 2")
    await page.click("#stop")
    await page.wait_for(LAST)
    await page.click(".turn.user .who button")  # Edit
    assert await page.evaluate("document.querySelectorAll('.turn').length") == 0
    assert await page.evaluate("document.getElementById('text').value") == (
        "Tell me a long story about a worker"
    )


async def test_an_answer_that_is_cleared_or_asked_again_meanwhile_is_forgotten(
    local_page: Page,
) -> None:
    page = local_page
    await ask(page, "Tell me a long story about a worker", 1500)
    await page.wait_for("document.querySelector('.turn:last-child .said').innerText.length > 20")
    await page.fill("#text", "typed ahead")
    await page.click(".turn:last-child .who button")  # Retry
    await page.wait_for("document.querySelector('.turn:last-child .said').innerText.length > 20")
    assert await page.evaluate("document.getElementById('stop').hidden") is False
    assert await page.evaluate("document.getElementById('text').value") == "typed ahead"
    await page.click("#clear")
    assert await page.evaluate("document.getElementById('stop').hidden") is True
    await page.fill("#text", "")
    assert "vLLM" in await answer(page, "What is vLLM?")
    assert await page.evaluate("document.querySelectorAll('.turn').length") == 2
    await page.click(".exchange summary")
    await page.wait_for("document.querySelector('.exchange pre')")
    sent = json.loads(await page.text(".exchange pre"))
    assert [message["content"] for message in sent["messages"]] == ["What is vLLM?"]


async def test_a_row_keeps_its_focus_and_an_odd_job_does_not_end_the_page(
    local_page: Page, endpoint: EndpointProcess
) -> None:
    page = local_page
    await queue_job(page, {"prompt": "x", "sampling_params": {"temperature": math.nan}})
    await page.click("#tab-jobs")
    await page.wait_for("document.querySelector('#job-rows .FAILED')")
    await page.evaluate("document.querySelector('#job-rows summary').focus()")
    before = await page.text("#job-counts")
    await queue_job(page, {"prompt": "x"})
    await page.wait_for(f"document.getElementById('job-counts').innerText !== {before!r}")
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"


async def test_mistakes_in_parameters_are_shown_at_their_field(local_page: Page) -> None:
    page = local_page
    await page.fill("#p-top_p", "7")
    await ask(page, "Hello")
    await page.wait_for("document.getElementById('p-top_p-error').innerText")
    assert await page.evaluate("document.getElementById('p-top_p').ariaInvalid") == "true"
    assert await page.evaluate("document.querySelectorAll('.turn').length") == 0
    await page.fill("#p-top_p", "0.85")
    assert not await page.text("#p-top_p-error")


async def test_mistakes_in_json_are_shown_at_their_field(local_page: Page) -> None:
    page = local_page
    await page.fill("#schema", '{"enum": ["red"')
    await ask(page, "A colour")
    await page.wait_for("document.getElementById('schema-error').innerText")
    assert "This is not JSON" in await page.text("#schema-error")
    await page.fill("#schema", '{"enum": ["red", "green"]}')
    assert await answer(page, "A colour") in ('"red"', '"green"')
    await page.fill("#schema", "")
    await page.fill("#tools", '[{"type": "function"}]')
    said = await answer(page, "Call it")
    assert "tools" in said
    assert page.errors.pop().startswith("Failed to load resource")  # the console's own line


async def test_a_failed_job_is_seen_with_its_reason_and_tried_again(
    local_page: Page, endpoint: EndpointProcess
) -> None:
    page = local_page
    await queue_job(page, {"prompt": "x", "sampling_params": {"top_p": 7}})
    await page.click("#tab-jobs")
    await page.wait_for("document.querySelector('.FAILED')")
    row = "document.querySelector('.FAILED').closest('tr')"
    assert "top_p" in str(await page.evaluate(f"{row}.innerText"))
    await page.screenshot(SHOTS / "jobs.png")
    await page.evaluate(f"{row}.querySelector('td:last-child button').click()")
    await page.wait_for("document.querySelector('.FAILED')")
    assert "1 worker" in await page.text("#job-counts")


async def test_a_worker_that_starts_is_seen_to_and_tells_of_itself(page: Page) -> None:
    with running_worker({"PORT": "0", "HF_TOKEN": "hf_secret"}, until_ready=False) as worker:
        url = worker.wait_for(r"serving on (\S+) once")[1]
        await page.open(f"{url}/#worker")
        await page.wait_for("document.getElementById('state').innerText.includes('is starting')")
        await page.wait_for("document.querySelectorAll('#timeline .bar').length > 1")
        await page.wait_for(IS_READY, 240)
        assert await page.text("#state") == "ready"
        assert "warm-up" in await page.text("#timeline")
        await page.wait_for("document.querySelectorAll('.plot canvas').length > 1")
        shown = await page.text("#configuration")
        assert "HF_TOKEN" in shown
        assert "hf_secret" not in str(await page.evaluate("document.body.innerHTML"))
        await page.screenshot(SHOTS / "worker.png")
        await page.call("Page.navigate", url="about:blank")  # it would ask on


async def test_the_door_shows_the_page_while_its_worker_starts(page: Page) -> None:
    worker, url = http_worker()
    try:
        worker.wait_for("listening on")
        await page.open(f"{url}/#worker")
        await page.wait_for("document.getElementById('state').innerText.includes('is starting')")
        # The worker's own server takes over, and asks for a key.
        await page.wait_for("!document.getElementById('key-form').hidden", 240)
        await page.fill("#key", KEY)
        await page.click("#key-form button")
        await page.wait_for(IS_READY)
        # A refused connection between the two servers, and the key that was missing.
        allowed = ("401", "ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "503")
        assert all(any(word in error for word in allowed) for error in page.errors), page.errors
        page.errors.clear()
        await page.call("Page.navigate", url="about:blank")  # it would ask on
    finally:
        worker.stop()


async def test_the_door_asks_for_a_key_and_has_the_rest(page: Page, door_url: str) -> None:
    await page.open(door_url)
    await page.wait_for("!document.getElementById('key-form').hidden")
    await page.fill("#key", "wrong")
    await page.click("#key-form button")
    await page.wait_for("document.getElementById('key-error').innerText")
    assert await page.text("#key-error") == "This key is not accepted."
    await page.fill("#key", KEY)
    await page.click("#key-form button")
    await page.wait_for(IS_READY)
    assert all("401" in error for error in page.errors)
    page.errors.clear()
    assert not await page.evaluate("document.getElementById('tab-jobs').offsetParent !== null")
    for form in ("openai", "native"):
        await page.click(f"[value={form}]")
        assert "vLLM" in await answer(page, "What is vLLM?")
    await page.click("#tab-worker")
    await page.wait_for("document.querySelectorAll('#timeline .bar').length > 3")
    await page.wait_for("document.querySelectorAll('.plot canvas').length > 1")
    assert "vllm" in await page.text("#versions")
    shown = await page.text("#configuration")
    assert "MODEL_NAME" in shown
    assert KEY not in str(await page.evaluate("document.body.innerHTML"))
    await page.screenshot(SHOTS / "worker-http.png")


async def test_the_page_is_usable_on_a_phone_and_by_keys(
    page: Page, worker: WorkerProcess, endpoint: EndpointProcess
) -> None:
    await page.open(endpoint.url, width=390, height=800)
    await page.wait_for(IS_READY)
    assert not await page.evaluate("document.getElementById('settings').open")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    for tab in ("chat", "jobs", "worker"):
        await page.click(f"#tab-{tab}")
        assert not await page.evaluate(wide), tab
    await page.wait_for("document.getElementById('worker-state').innerText.includes('on its own')")
    await page.click("#tab-chat")
    await page.screenshot(SHOTS / "phone.png")
    await page.evaluate("document.getElementById('tab-worker').focus()")
    await page.press("ArrowRight")
    assert await page.evaluate("document.activeElement.id") == "tab-chat"
    unnamed = (
        "[...document.querySelectorAll('input, select, textarea')]"
        ".filter((field) => !field.labels.length).map((field) => field.id)"
    )
    assert await page.evaluate(unnamed) == []


async def test_a_model_that_is_chosen_is_the_one_that_is_asked(local_page: Page) -> None:
    page = local_page
    await page.evaluate("document.getElementById('model').append(new Option('other', 'other'))")
    await page.fill("#model", "other")
    assert "other" in await answer(page, "Hello")  # as the worker says, there is no such model
    assert page.errors.pop().startswith("Failed to load resource")
    await page.fill("#model", "demo")
    await answer(page, "What is vLLM?")
    await page.evaluate(f"{LAST}.querySelector('summary').click()")
    request = await page.text(".turn:last-child .exchange pre")
    assert json.loads(request)["model"] == "demo"
