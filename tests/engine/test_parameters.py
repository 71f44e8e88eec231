"""Each cell of the table of parameters in docs/api.md: what it says is what happens."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from tests.support.asking import CHAT, COMPLETIONS, NATIVE, QUESTION, Asked, Refused, ask
from tests.support.worker_process import ROOT
from vllm_worker.engine.vllm_engine import VLLMEngine

GREEDY = {"temperature": 0, "max_tokens": 24}
WILD = {"temperature": 2.0, "max_tokens": 8, "ignore_eos": True}
BEAMS = {"use_beam_search": True, "best_of": 4, "max_tokens": 60}

Ask = Callable[..., Awaitable[Asked]]
CHECKS: dict[str, Callable[[Ask], Awaitable[None]]] = {}
FORMS = {"chat": CHAT, "completions": COMPLETIONS, "native": NATIVE}


def cells() -> list[tuple[str, str, str]]:
    """(parameter, form, what the table says), for each cell that is not empty."""
    section = (ROOT / "docs/api.md").read_text().partition("## Parameters")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|", section, re.MULTILINE)
    return [
        (name, form, cell.strip())
        for name, *row in rows
        for form, cell in zip(FORMS, row, strict=True)
        if cell.strip()
    ]


@pytest.mark.parametrize(("name", "form", "says"), cells())
async def test_a_cell_of_the_table(engine: VLLMEngine, name: str, form: str, says: str) -> None:
    ask_form = partial(ask, engine, FORMS[form])

    assert says in ("honoured", "honoured by the worker", "refused")
    if says == "refused":
        with pytest.raises(Refused) as refused:
            await ask_form(**{name: "x"})
        assert refused.value.error["code"] == 400
        assert name in refused.value.error["message"]
    else:
        await CHECKS[name](ask_form)


def test_every_check_is_in_the_table() -> None:
    assert {name for name, _, says in cells() if says != "refused"} == CHECKS.keys()


def check(function: Callable[[Ask], Awaitable[None]]) -> Callable[[Ask], Awaitable[None]]:
    CHECKS[function.__name__] = function
    return function


async def seeds(ask: Ask, **parameters: Any) -> set[str]:
    """The texts of four seeds."""
    return {(await ask(**WILD | parameters, seed=seed)).text for seed in range(4)}


@check
async def messages(ask: Ask) -> None:
    listed = await ask(messages=[{"role": "user", "content": QUESTION}], prompt=None, **GREEDY)
    assert "RunPod" in listed.text
    assert (await ask(messages=QUESTION, prompt=None, **GREEDY)).text == listed.text


@check
async def prompt(ask: Ask) -> None:
    asked = await ask(prompt="RunPod is", **GREEDY)
    assert asked.text != (await ask(prompt="The moon", **GREEDY)).text
    if asked.form == COMPLETIONS:
        tokens = asked.tokenize("RunPod is")
        assert (await ask(prompt=tokens, **GREEDY)).text == asked.text
        for several in (["RunPod is", "The moon"], [tokens, asked.tokenize("The moon")]):
            both = await ask(prompt=several, **GREEDY)
            assert both.texts[0] == asked.text
            assert len(both.texts) == 2


@check
async def apply_chat_template(ask: Ask) -> None:
    plain, templated = await ask(**GREEDY), await ask(apply_chat_template=True, **GREEDY)
    chat = await ask(messages=QUESTION, prompt=None, **GREEDY)
    assert plain.text != templated.text == chat.text


@check
async def sampling_params(ask: Ask) -> None:
    assert (await ask(sampling_params={"max_tokens": 3, "ignore_eos": True})).tokens == 3


@check
async def model(ask: Ask) -> None:
    await ask(model="demo", **GREEDY)
    with pytest.raises(Refused) as refused:
        await ask(model="nope", **GREEDY)
    assert refused.value.error["code"] == 404


@check
async def stream(ask: Ask) -> None:
    streamed = await ask(stream=True, **GREEDY)
    assert len(streamed.outputs) > 2
    assert streamed.text == (await ask(**GREEDY)).text


async def _sizes(ask: Ask, **sizes: Any) -> list[int]:
    asked = await ask(stream=True, max_tokens=30, ignore_eos=True, **sizes)
    totals = [0, *(output["usage"]["output"] for output in asked.outputs)]
    return [after - before for before, after in pairwise(totals)]


@check
async def max_batch_size(ask: Ask) -> None:
    assert max(await _sizes(ask, max_batch_size=4)) == 4


@check
async def min_batch_size(ask: Ask) -> None:
    assert (await _sizes(ask, min_batch_size=5))[0] == 5


@check
async def batch_size_growth_factor(ask: Ask) -> None:
    assert (await _sizes(ask, min_batch_size=2, batch_size_growth_factor=2))[:3] == [2, 4, 8]


@check
async def max_tokens(ask: Ask) -> None:
    asked = await ask(max_tokens=5, ignore_eos=True)
    assert (asked.tokens, asked.finish_reason) == (5, "length")


@check
async def temperature(ask: Ask) -> None:
    assert len(await seeds(ask, temperature=0)) == 1
    assert len(await seeds(ask)) > 1


@check
async def top_p(ask: Ask) -> None:
    assert len(await seeds(ask, top_p=0.001)) == 1


@check
async def top_k(ask: Ask) -> None:
    assert len(await seeds(ask, top_k=1)) == 1
    assert len(await seeds(ask, top_k=-1)) > 1


@check
async def min_p(ask: Ask) -> None:
    assert len(await seeds(ask, min_p=1.0)) == 1


@check
async def n(ask: Ask) -> None:
    asked = await ask(n=3, seed=0, **WILD)  # without a seed three may well be the same
    assert len(asked.texts) == 3
    assert len(set(asked.texts)) > 1
    assert asked.tokens == 3 * WILD["max_tokens"]


@check
async def best_of(ask: Ask) -> None:
    asked = await ask(n=2, best_of=5, **WILD)
    assert len(asked.texts) == 2
    assert asked.tokens == 5 * WILD["max_tokens"]


@check
async def use_beam_search(ask: Ask) -> None:
    assert len(set((await ask(n=3, **BEAMS)).texts)) == 3


@check
async def length_penalty(ask: Ask) -> None:
    # Where the model is sure, or never ends, there is nothing to prefer: hence two questions.
    short, long = 0, 0
    for question in (QUESTION, "Blue"):
        short += (await ask(question, length_penalty=-8.0, **BEAMS)).tokens
        long += (await ask(question, length_penalty=8.0, **BEAMS)).tokens
    assert short < long


@check
async def early_stopping(ask: Ask) -> None:
    search = BEAMS | {"length_penalty": 8.0}
    bold, patient = [await ask(early_stopping=when, **search) for when in (True, "never")]
    assert bold.tokens < patient.tokens


@check
async def seed(ask: Ask) -> None:
    assert len(await seeds(ask)) > 1
    assert await seeds(ask) == await seeds(ask)


@check
async def stop(ask: Ask) -> None:
    whole = (await ask(**GREEDY)).text
    word = whole.split()[2]
    for given in (word, ["never said", word]):
        asked = await ask(stop=given, **GREEDY)
        assert asked.text == whole.partition(word)[0]
        assert asked.finish_reason == "stop"


@check
async def include_stop_str_in_output(ask: Ask) -> None:
    word = (await ask(**GREEDY)).text.split()[2]
    asked = await ask(stop=word, include_stop_str_in_output=True, **GREEDY)
    assert asked.text.endswith(word)


@check
async def stop_token_ids(ask: Ask) -> None:
    whole = await ask(**GREEDY)
    third = whole.tokenize(whole.text)[2]
    asked = await ask(stop_token_ids=[third], **GREEDY)
    assert (asked.tokens, asked.finish_reason) == (3, "stop")


@check
async def ignore_eos(ask: Ask) -> None:
    parameters = GREEDY | {"max_tokens": 200}
    assert (await ask(**parameters)).tokens < 200
    asked = await ask(ignore_eos=True, **parameters)
    assert (asked.tokens, asked.finish_reason) == (200, "length")


async def _changes(ask: Ask, **penalty: float) -> None:
    # Long enough that a greedy text repeats itself.
    long = GREEDY | {"max_tokens": 120, "ignore_eos": True}
    plain, penalised = await ask(**long), await ask(**long, **penalty)
    assert plain.text != penalised.text
    distinct = [len(set(asked.tokenize(asked.text))) for asked in (plain, penalised)]
    assert distinct[0] < distinct[1]


@check
async def presence_penalty(ask: Ask) -> None:
    await _changes(ask, presence_penalty=2.0)


@check
async def frequency_penalty(ask: Ask) -> None:
    await _changes(ask, frequency_penalty=2.0)


@check
async def repetition_penalty(ask: Ask) -> None:
    await _changes(ask, repetition_penalty=3.0)


@check
async def logit_bias(ask: Ask) -> None:
    asked = await ask(max_tokens=1)
    (token,) = asked.tokenize("!")
    forced = await ask(logit_bias={str(token): 100}, max_tokens=4, temperature=0)
    assert forced.text == "!!!!"


@check
async def logprobs(ask: Ask) -> None:
    asked = await ask(max_tokens=4, ignore_eos=True, temperature=0, logprobs=1)
    (choice,) = asked.outputs[0]["choices"]
    given = choice["logprobs"]
    if asked.form == NATIVE:
        assert "".join(each["token"] for each in given) == asked.text
        assert all(each["top_logprobs"][0]["token"] == each["token"] for each in given)
        assert len(given) == asked.tokens == 4
        return
    values = given["token_logprobs"] if "token_logprobs" in given else given["content"]
    assert len(values) == 4


@check
async def echo(ask: Ask) -> None:
    if (await ask(max_tokens=1)).form == COMPLETIONS:
        assert (await ask(prompt="RunPod is", echo=True, **GREEDY)).text.startswith("RunPod is")
        return
    said = {"role": "assistant", "content": "RunPod is"}
    asked = await ask(
        messages=[{"role": "user", "content": QUESTION}, said],
        add_generation_prompt=False, continue_final_message=True, echo=True, **GREEDY,
    )  # fmt: skip
    assert asked.text.startswith("RunPod is")


@check
async def add_generation_prompt(ask: Ask) -> None:
    with_it, without = [
        await ask(messages=QUESTION, prompt=None, add_generation_prompt=value, max_tokens=1)
        for value in (True, False)
    ]
    assert without.input_tokens < with_it.input_tokens


@check
async def skip_special_tokens(ask: Ask) -> None:
    long = GREEDY | {"max_tokens": 100, "ignore_eos": True}
    assert "<|" not in (await ask(**long)).text
    assert "<|im_end|>" in (await ask(skip_special_tokens=False, **long)).text


@check
async def spaces_between_special_tokens(ask: Ask) -> None:
    """This model's tokenizer has no spaces between tokens: all that shows is what is no boolean."""
    for value in (True, False):
        assert (await ask(spaces_between_special_tokens=value, **GREEDY)).text
    with pytest.raises(Refused):
        await ask(spaces_between_special_tokens=[], **GREEDY)


@check
async def user(ask: Ask) -> None:
    assert (await ask(user="somebody", **GREEDY)).text == (await ask(**GREEDY)).text


@pytest.mark.snapshot
async def test_a_stop_token_that_the_model_does_not_have_is_refused(engine: VLLMEngine) -> None:
    """Older releases of vLLM take it, and never stop there."""
    with pytest.raises(Refused) as refused:
        await ask(engine, NATIVE, stop_token_ids=[1_000_000])
    assert "stop_token_ids" in refused.value.error["message"]
