"""The prompt of a native job, as vLLM's engine takes it."""

from typing import Any

from vllm.renderers import ChatParams, TokenizeParams
from vllm.renderers.inputs.preprocess import parse_model_prompt

from vllm_worker.jobs.inputs import NativeJob


async def render(llm: Any, app_state: Any, job: NativeJob) -> Any:
    """The prompt as token ids, by the model's chat template where the job asks for it.

    `llm` is vLLM's engine and `app_state` that of its application. Raises vLLM's errors for a
    prompt that is longer than the context.
    """
    lengths = TokenizeParams(
        max_total_tokens=llm.model_config.max_model_len,
        max_total_tokens_param="max_model_len",
        truncate_prompt_tokens=job.truncate_prompt_tokens,
        max_output_tokens=0 if job.truncate_prompt_tokens is None else 1,
        add_special_tokens=job.chat is None,
    )
    if job.chat is None:
        return await render_text(llm, job.prompt, lengths)
    online = app_state.online_renderer
    template = ChatParams(
        chat_template=online.chat_template,
        chat_template_content_format=online.chat_template_content_format,
        chat_template_kwargs=_template_kwargs(job),
    ).with_defaults(online.default_chat_template_kwargs)
    _, (prompt,) = await llm.renderer.render_chat_async([job.chat], template, lengths)
    return prompt


def _template_kwargs(job: NativeJob) -> dict[str, Any]:
    tools = {"tools": job.tools} if job.tools else {}
    return {"add_generation_prompt": job.add_generation_prompt} | tools | job.chat_template_kwargs


async def render_text(llm: Any, text: str | None, lengths: TokenizeParams) -> Any:
    """A bare prompt as token ids."""
    parsed = parse_model_prompt(llm.model_config, text)
    (prompt,) = await llm.renderer.render_cmpl_async([parsed], lengths)
    return prompt
