"""vLLM's outputs and exceptions, translated into the worker's."""

from typing import Any

from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from vllm_worker.engine.patches.seams import find
from vllm_worker.engine.protocol import AlternativeLogprob, Delta, TokenLogprob
from vllm_worker.errors import EngineDead, EngineFailure, JobError, VLLMError
from vllm_worker.streaming.flow_control import FlowControl


def deltas(
    output: RequestOutput,
    flow: FlowControl | None,
    logprobs: bool = False,
    streamed: bool = False,
) -> list[Delta]:
    """One delta for each choice in the output; `flow` has the texts by token. Those of a stream
    with log-probabilities have them, too, also where vLLM has merged several tokens that were not
    read in time.

    Raises EngineFailure when the engine gave up on the request.
    """
    if any(completion.finish_reason == "error" for completion in output.outputs):
        raise EngineFailure("The engine failed while it generated.")
    made = []
    for completion in output.outputs:
        places = _logprobs(completion) if logprobs else None
        if flow and flow.connected:
            texts = flow.take_texts()
        else:
            texts = _texts_of(completion.text, places) if streamed and places else [completion.text]
        made.append(
            Delta(
                completion.index,
                texts,
                len(completion.token_ids),
                len(output.prompt_token_ids or ()),
                completion.finish_reason,
                completion.cumulative_logprob,
                places,
            )
        )
    return made


def by_token(text: str, tokens: int) -> list[str]:
    """Of several tokens that came in one step, the text goes with the first."""
    return [text, *[""] * (tokens - 1)]


def _texts_of(text: str, places: list[TokenLogprob]) -> list[str]:
    """A text for each token. They are not those of `text` where a character has several tokens, or
    the beginning of a stop string is held back.
    """
    texts = [place["token"] for place in places]
    return texts if "".join(texts) == text else by_token(text, len(places))


def _logprobs(completion: CompletionOutput) -> list[TokenLogprob]:
    places = completion.logprobs or ()
    return [
        {**_entry(place[token]), "top_logprobs": _top(place)}
        for token, place in zip(completion.token_ids, places, strict=False)
    ]


def _top(place: Any) -> list[AlternativeLogprob]:
    """vLLM adds the generated token to as many as were asked for."""
    ranked = sorted(place.values(), key=lambda each: each.rank or 0)
    return [_entry(each) for each in ranked]


def _entry(logprob: Any) -> AlternativeLogprob:
    return {"token": logprob.decoded_token or "", "logprob": logprob.logprob}


def translated_in_mid_answer(error: Exception) -> JobError:
    """Translate an exception that the application raised in mid-answer.

    Where it could have answered the error, had it not begun, Starlette wraps it in a RuntimeError.
    """
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    failure = translated(error)
    failure.__cause__ = error
    return failure


def translated(error: Exception) -> JobError:
    """vLLM's exceptions as the worker's, by the table that vLLM's own application uses."""
    if isinstance(error, EngineDeadError):
        return EngineDead()
    if isinstance(error, EngineGenerateError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    body = find("create_error_response")(error).model_dump()
    status = int(body["error"]["code"])
    if status == 500:
        return EngineFailure("The engine failed on this job.")
    return VLLMError(status, body)
