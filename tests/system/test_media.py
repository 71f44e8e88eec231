"""Images in a chat, and which of them a worker refuses to fetch."""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from packaging.version import Version
from PIL import Image

from tests.support.examples import run_section
from tests.support.served_model import NAME, ServedModel, openai_job, serving
from tests.support.small_models import IMAGE_TOKENS, make_image_text_model
from vllm_worker.configuration.catalogue import vllm_version

pytestmark = pytest.mark.skipif(
    Version(vllm_version()) < Version("0.32"),
    reason="reading images without torchvision, which has no build for this PyTorch, takes "
    "Transformers 5.19, which vLLM 0.31 excludes, and with which older ones fail on an image",
)

QUESTION = "What is this?"
GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def model() -> Iterator[ServedModel]:
    with serving(make_image_text_model, LIMIT_MM_PER_PROMPT='{"image": 1}') as model:
        yield model


def picture(color: str, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


RED, BLUE = data_url(picture("red")), data_url(picture("blue"))


def messages(*urls: str) -> list[dict[str, Any]]:
    """A question about the images at these URLs."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*images, {"type": "text", "text": QUESTION}]}]


def ask(model: ServedModel, *urls: str) -> Any:
    return model.client.chat.completions.create(model=NAME, messages=messages(*urls), **GREEDY)


# Images that come with the request


def test_an_image_changes_the_prompt_and_the_answer(model: ServedModel) -> None:
    blind, red, blue = ask(model), ask(model, RED), ask(model, BLUE)
    assert red.usage.prompt_tokens == blind.usage.prompt_tokens + IMAGE_TOKENS
    assert blue.usage.prompt_tokens == red.usage.prompt_tokens
    answers = [answer.choices[0].message.content for answer in (blind, red, blue)]
    assert len(set(answers)) == 3
    assert ask(model, RED).choices[0].message.content == answers[1]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_other_formats_and_sizes(model: ServedModel, kind: str) -> None:
    image = data_url(picture("red", (300, 500), kind), kind.lower())
    tokens = ask(model, image).usage.prompt_tokens
    assert tokens == ask(model, RED).usage.prompt_tokens


def test_a_stream_says_the_same(model: ServedModel) -> None:
    chunks = model.client.chat.completions.create(
        model=NAME, messages=messages(RED), stream=True, **GREEDY
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == ask(model, RED).choices[0].message.content


def test_a_native_job_can_have_images(model: ServedModel) -> None:
    (output,) = model.outputs({"messages": messages(RED), "sampling_params": GREEDY})
    answer = ask(model, RED)
    assert "".join(output["choices"][0]["tokens"]) == answer.choices[0].message.content
    assert output["usage"]["input"] == answer.usage.prompt_tokens


def test_responses_and_messages_can_have_images(model: ServedModel) -> None:
    tokens = ask(model, RED).usage.prompt_tokens
    answer = model.call("/v1/responses", **responses_body(RED))
    assert answer["usage"]["input_tokens"] == tokens
    source = {"type": "base64", "media_type": "image/png", "data": RED.partition(",")[2]}
    answer = model.call("/v1/messages", **messages_body(source))
    assert answer["usage"]["input_tokens"] == tokens


def test_the_limit_of_images_per_prompt(model: ServedModel) -> None:
    with pytest.raises(openai.BadRequestError, match=r"At most 1 image\(s\) may be provided"):
        ask(model, RED, BLUE)
    error = model.error({"messages": messages(RED, BLUE)})
    assert error["code"] == 400
    assert "At most 1 image(s) may be provided" in error["message"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (data_url(b"no image"), "cannot identify image"),
        (data_url(picture("red")[:60]), "image"),
        ("data:image/png;base64,@@@@", "base64"),
        ("picture.png", "must be either a HTTP, data or file URL"),
    ],
)
def test_what_is_no_image_is_a_bad_request(model: ServedModel, url: str, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        ask(model, url)


# Images that the worker would have to get


class Site:
    """A web site with one image, as it may be inside the network that a worker is in."""

    def __init__(self) -> None:
        self.visits = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.visits += 1
                image = picture("red")
                self.send_response(200)
                self.send_header("Content-Length", str(len(image)))
                self.end_headers()
                self.wfile.write(image)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/red.png"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,))
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


def responses_body(url: str) -> dict[str, Any]:
    image = {"type": "input_image", "image_url": url, "detail": "auto"}
    content = [image, {"type": "input_text", "text": QUESTION}]
    return {"input": [{"role": "user", "content": content}], "max_output_tokens": 4}


def messages_body(source: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 4}


# Everything in a job that can name an image by its URL.
JOBS: dict[str, Callable[[str], dict[str, Any]]] = {
    "native": lambda url: {"messages": messages(url)},
    "chat": lambda url: openai_job("/v1/chat/completions", messages=messages(url)),
    "stream": lambda url: openai_job("/v1/chat/completions", messages=messages(url), stream=True),
    "batch": lambda url: openai_job("/v1/chat/completions/batch", messages=[messages(url)]),
    "responses": lambda url: openai_job("/v1/responses", **responses_body(url)),
    "messages": lambda url: openai_job(
        "/v1/messages", **messages_body({"type": "url", "url": url})
    ),
    "count_tokens": lambda url: openai_job(
        "/v1/messages/count_tokens", **messages_body({"type": "url", "url": url})
    ),
    "tokenize": lambda url: openai_job("/tokenize", messages=messages(url)),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_an_image_in_the_workers_network_is_not_fetched(
    model: ServedModel, site: Site, job: Callable[[str], dict[str, Any]]
) -> None:
    error = model.error(job(site.url))
    assert error["code"] == 400
    assert "could not be fetched from a public address" in error["message"]
    assert site.visits == 0


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_a_file_of_the_worker_is_not_read(
    model: ServedModel, tmp_path: Path, job: Callable[[str], dict[str, Any]]
) -> None:
    image = tmp_path / "red.png"
    image.write_bytes(picture("red"))
    assert model.error(job(image.as_uri()))["code"] == 400


def test_openais_client_sees_both_as_bad_requests(model: ServedModel, site: Site) -> None:
    with pytest.raises(openai.BadRequestError, match="from a public address"):
        ask(model, site.url)
    with pytest.raises(openai.BadRequestError):
        ask(model, "file:///etc/hostname")


def test_the_examples_of_the_documentation(model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(picture("red"))
    run_section("Images, videos and audio in a chat", model.url, tmp_path, NAME)
