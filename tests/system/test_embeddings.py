"""The routes of an embedding model, and what it says to a job that wants a text generated."""

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from tests.support.command_line import command_line
from tests.support.examples import run_section
from tests.support.served_model import NAME, ServedModel, serving
from tests.support.small_models import HIDDEN, make_embedding_model

TEXTS = ["hello", "quite another text", "hello"]
# A token per byte, and one at either end.
TOKENS = sum(len(text) + 2 for text in TEXTS)


@pytest.fixture(scope="module")
def model() -> Iterator[ServedModel]:
    with serving(make_embedding_model) as model:
        yield model


@pytest.fixture(scope="module")
def vectors(model: ServedModel) -> list[list[float]]:
    """Those of TEXTS."""
    answer = model.client.embeddings.create(model=NAME, input=TEXTS, encoding_format="float")
    return [item.embedding for item in answer.data]


def decoded(text: str) -> list[float]:
    return np.frombuffer(base64.b64decode(text), "<f4").tolist()


def test_a_list_of_texts_gives_a_vector_each(
    model: ServedModel, vectors: list[list[float]]
) -> None:
    answer = model.client.embeddings.create(model=NAME, input=TEXTS, encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert [item.embedding for item in answer.data] == vectors
    assert [len(vector) for vector in vectors] == [HIDDEN] * 3
    assert answer.model == NAME
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (TOKENS, TOKENS)


def test_vectors_have_length_one_and_depend_on_the_text(vectors: list[list[float]]) -> None:
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1, 1, 1], abs=1e-3)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-3)
    assert vectors[0] != pytest.approx(vectors[1], abs=0.05)


def test_the_command_line_gives_the_same_vectors(
    model: ServedModel, vectors: list[list[float]]
) -> None:
    ran = command_line("embed", *TEXTS, "--url", model.url)
    assert [json.loads(line) for line in ran.stdout.splitlines()] == vectors, ran.stderr


def test_the_doctor_tries_what_the_model_does(model: ServedModel) -> None:
    ran = command_line("doctor", "--url", model.url, "--json", "--no-machine")
    assert ran.returncode == 0, ran.stdout
    *_, native, embedding = json.loads(ran.stdout)
    assert (native["check"], native["verdict"]) == ("native job", "noted")
    assert (embedding["verdict"], embedding["text"]) == ("good", f"{HIDDEN} numbers")


def test_one_text_alone_has_the_same_vector(model: ServedModel, vectors: list[list[float]]) -> None:
    # The client asks for base64 where nothing is said, and decodes it.
    (item,) = model.client.embeddings.create(model=NAME, input=TEXTS[1]).data
    assert item.embedding == pytest.approx(vectors[1], abs=1e-3)


def test_base64_holds_the_same_floats(model: ServedModel, vectors: list[list[float]]) -> None:
    answer = model.client.embeddings.create(model=NAME, input=TEXTS, encoding_format="base64")
    for item, vector in zip(answer.data, vectors, strict=True):
        assert decoded(item.embedding) == pytest.approx(vector, abs=1e-3)


def test_token_ids_are_an_input_too(model: ServedModel, vectors: list[list[float]]) -> None:
    tokens = model.call("/tokenize", prompt=TEXTS[0])["tokens"]
    answer = model.client.embeddings.create(model=NAME, input=tokens, encoding_format="float")
    assert answer.data[0].embedding == pytest.approx(vectors[0], abs=1e-3)


def test_a_raw_job_and_the_route_pooling(model: ServedModel, vectors: list[list[float]]) -> None:
    embedded = model.call("/v1/embeddings", input=TEXTS)
    pooled = model.call("/pooling", input=TEXTS)
    for n, vector in enumerate(vectors):
        assert embedded["data"][n]["embedding"] == pytest.approx(vector, abs=1e-3)
        assert pooled["data"][n]["data"] == pytest.approx(vector, abs=1e-3)
    assert embedded["usage"]["prompt_tokens"] == pooled["usage"]["prompt_tokens"] == TOKENS


def test_coheres_embed(model: ServedModel, vectors: list[list[float]]) -> None:
    types = ["float", "base64", "binary", "ubinary"]
    answer = model.call("/v2/embed", texts=TEXTS, embedding_types=types)
    given = answer["embeddings"]
    for n, vector in enumerate(vectors):
        assert given["float"][n] == pytest.approx(vector, abs=1e-3)
        assert decoded(given["base64"][n]) == pytest.approx(vector, abs=1e-3)
        assert len(given["binary"][n]) == len(given["ubinary"][n]) == HIDDEN // 8
    assert answer["meta"]["billed_units"]["input_tokens"] == TOKENS


def test_scores_are_the_cosines_of_the_vectors(
    model: ServedModel, vectors: list[list[float]]
) -> None:
    cosines = [np.dot(vectors[0], vector) for vector in vectors[1:]]
    scores = model.call("/score", text_1=TEXTS[0], text_2=TEXTS[1:])["data"]
    assert [score["score"] for score in scores] == pytest.approx(cosines, abs=0.01)
    results = model.call("/rerank", query=TEXTS[0], documents=TEXTS[1:])["results"]
    assert [result["document"]["text"] for result in results] == ["hello", "quite another text"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"dimensions": 8}, "does not support Matryoshka"),
        ({"input": "x" * 500}, "maximum context length is 256"),
        ({"input": []}, "at least one prompt"),
        # Bytes are no JSON, and a job's output is JSON.
        ({"encoding_format": "bytes"}, "a job can only carry text"),
    ],
)
def test_what_cannot_be_is_a_bad_request(
    model: ServedModel, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        model.client.embeddings.create(**{"model": NAME, "input": "hello"} | parameters)


def test_an_unknown_model_is_not_found(model: ServedModel) -> None:
    with pytest.raises(openai.NotFoundError, match="nope"):
        model.client.embeddings.create(model="nope", input="hello")


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}),
        ("/classify", {"input": "Hi"}),
    ],
)
def test_the_routes_of_other_models_are_not_found(
    model: ServedModel, route: str, body: dict[str, Any]
) -> None:
    error = model.refusal(route, **body)
    assert (error["code"], error["type"]) == (404, "NotFoundError")
    assert error["message"] == f"{route} is not a route of the loaded model."


def test_openais_client_sees_that_as_not_found(model: ServedModel) -> None:
    with pytest.raises(openai.NotFoundError, match="not a route of the loaded model"):
        model.client.completions.create(model=NAME, prompt="Hi")


@pytest.mark.parametrize(
    "job",
    [
        {"prompt": "Hi"},
        {"prompt": "Hi", "stream": True},
        {"messages": "Hi"},
    ],
)
def test_a_native_job_fails_with_a_clear_error(model: ServedModel, job: dict[str, Any]) -> None:
    error = model.error(job)
    assert (error["code"], error["type"]) == (400, "BadRequestError")
    assert "does not generate text" in error["message"]
    model.call("/v1/embeddings", input="still there")


def test_the_examples_of_the_documentation(model: ServedModel, tmp_path: Path) -> None:
    run_section("/v1/embeddings and /pooling", model.url, tmp_path, NAME)
