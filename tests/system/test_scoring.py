"""The routes of models that classify texts and of those that score pairs of them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import run_section
from tests.support.served_model import NAME, ServedModel, serving
from tests.support.small_models import make_classifier

LABELS = ["bad", "neutral", "good"]
QUERY = "what"
DOCUMENTS = ["one", "two", "three, and more", "four"]


@pytest.fixture(scope="module")
def classifier() -> Iterator[ServedModel]:
    with serving(partial(make_classifier, labels=LABELS)) as model:
        yield model


@pytest.fixture(scope="module")
def scorer() -> Iterator[ServedModel]:
    """A cross-encoder: one label, whose probability is a pair's score."""
    with serving(partial(make_classifier, labels=["relevant"])) as model:
        yield model


@pytest.fixture(scope="module")
def scores(scorer: ServedModel) -> list[float]:
    """Those of DOCUMENTS."""
    answer = scorer.call("/score", text_1=QUERY, text_2=DOCUMENTS)
    return [item["score"] for item in answer["data"]]


# Classification


def test_classify_names_the_likeliest_label(classifier: ServedModel) -> None:
    texts = ["hello", "a text", "and another one", "!"]
    answer = classifier.call("/classify", input=texts)
    for n, item in enumerate(answer["data"]):
        assert (item["index"], item["num_classes"]) == (n, len(LABELS))
        assert sum(item["probs"]) == pytest.approx(1, abs=1e-3)
        assert item["label"] == LABELS[item["probs"].index(max(item["probs"]))]
    assert len({item["label"] for item in answer["data"]}) > 1
    assert answer["usage"]["prompt_tokens"] == sum(len(text) + 2 for text in texts)


def test_classify_takes_one_text_too(classifier: ServedModel) -> None:
    (alone,) = classifier.call("/classify", input="hello")["data"]
    both = classifier.call("/classify", input=["hello", "else"])["data"]
    assert alone["probs"] == pytest.approx(both[0]["probs"], abs=1e-3)


def test_pooling_gives_the_probabilities(classifier: ServedModel) -> None:
    (classified,) = classifier.call("/classify", input="hello")["data"]
    (pooled,) = classifier.call("/pooling", input="hello")["data"]
    assert pooled["data"] == pytest.approx(classified["probs"], abs=1e-3)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/score", {"text_1": QUERY, "text_2": DOCUMENTS}),
        ("/v1/rerank", {"query": QUERY, "documents": DOCUMENTS}),
        ("/v1/embeddings", {"input": "hello"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_a_model_with_several_labels_scores_nothing(
    classifier: ServedModel, route: str, body: dict[str, Any]
) -> None:
    error = classifier.refusal(route, **body)
    assert error["code"] == 404
    assert error["message"] == f"{route} is not a route of the loaded model."


# Scores


@pytest.mark.parametrize("route", ["/score", "/v1/score"])
@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents")])
def test_a_score_per_document(
    scorer: ServedModel, scores: list[float], route: str, names: tuple[str, str]
) -> None:
    answer = scorer.call(route, **dict(zip(names, (QUERY, DOCUMENTS), strict=True)))
    assert [item["index"] for item in answer["data"]] == list(range(len(DOCUMENTS)))
    assert [item["score"] for item in answer["data"]] == pytest.approx(scores, abs=1e-3)
    assert all(0 < score < 1 for score in scores)
    # A token per byte, and three that enclose query and document.
    tokens = sum(len(QUERY) + len(document) + 3 for document in DOCUMENTS)
    assert answer["usage"]["prompt_tokens"] == tokens


def test_pairs_are_scored_one_to_one(scorer: ServedModel, scores: list[float]) -> None:
    answer = scorer.call("/score", text_1=[QUERY] * len(DOCUMENTS), text_2=DOCUMENTS)
    assert [item["score"] for item in answer["data"]] == pytest.approx(scores, abs=1e-3)
    error = scorer.refusal("/score", text_1=[QUERY] * 2, text_2=DOCUMENTS)
    assert error["code"] == 400
    assert "1:1, 1:N or N:N" in error["message"]


# Ranks


@pytest.mark.parametrize("route", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerank_sorts_by_the_score(scorer: ServedModel, scores: list[float], route: str) -> None:
    answer = scorer.call(route, query=QUERY, documents=DOCUMENTS)
    assert answer["model"] == NAME
    results = answer["results"]
    ranked = sorted(range(len(DOCUMENTS)), key=lambda n: -scores[n])
    assert [result["index"] for result in results] == ranked
    assert [result["document"]["text"] for result in results] == [DOCUMENTS[n] for n in ranked]
    given = [result["relevance_score"] for result in results]
    assert given == pytest.approx([scores[n] for n in ranked], abs=1e-3)


@pytest.mark.parametrize(("top_n", "results"), [(0, 4), (1, 1), (2, 2), (9, 4)])
def test_rerank_gives_the_best_top_n(scorer: ServedModel, top_n: int, results: int) -> None:
    everything = scorer.call("/rerank", query=QUERY, documents=DOCUMENTS)["results"]
    best = scorer.call("/rerank", query=QUERY, documents=DOCUMENTS, top_n=top_n)["results"]
    assert [r["index"] for r in best] == [r["index"] for r in everything[:results]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"top_n": -1}, "top_n"),
        ({"documents": []}, "At least one"),
        ({"documents": ["x" * 500]}, "maximum context length is 256"),
        ({"query": None}, "query"),
    ],
)
def test_what_cannot_be_ranked_is_a_bad_request(
    scorer: ServedModel, body: dict[str, Any], says: str
) -> None:
    error = scorer.refusal("/rerank", **{"query": QUERY, "documents": DOCUMENTS} | body)
    assert error["code"] == 400
    assert says in error["message"]


def test_documents_can_be_cut_to_the_context(scorer: ServedModel) -> None:
    answer = scorer.call("/rerank", query=QUERY, documents=["x" * 500], truncate_prompt_tokens=100)
    assert answer["usage"]["prompt_tokens"] == 100


def test_a_scorer_generates_nothing(scorer: ServedModel) -> None:
    assert scorer.error({"prompt": "Hi"})["code"] == 400
    assert scorer.refusal("/v1/completions", prompt="Hi")["code"] == 404


def test_the_examples_of_classification(classifier: ServedModel, tmp_path: Path) -> None:
    run_section("/classify", classifier.url, tmp_path, NAME)


def test_the_examples_of_scoring(scorer: ServedModel, tmp_path: Path) -> None:
    run_section("/score and /rerank", scorer.url, tmp_path, NAME)
