"""Asks the model for documents of common schemas, as structured output does."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import torch
import xgrammar
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from builder.demo_model.reading import CORPUS

CASES = CORPUS / "common_schemas.json"
LONGEST = 200


class Documents:
    """Takes the likeliest token of those that a schema allows, as vLLM does with
    `disable_any_whitespace`.
    """

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._vocabulary = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer,
            vocab_size=model.config.vocab_size,
            stop_token_ids=[tokenizer.eos_token_id],
        )
        self._compiler = xgrammar.GrammarCompiler(self._vocabulary)

    def score(self) -> int:
        """Print and return how many documents are whole, and show the others."""
        cases = json.loads(CASES.read_text(encoding="utf-8"))
        written = [(case, self.write(case["question"], case["schema"])) for case in cases]
        broken = [(case, text) for case, text in written if not follows(text, case["schema"])]
        whole = len(cases) - len(broken)
        print(f"common schemas: {whole} of {len(cases)} documents end within {LONGEST} tokens")
        for case, text in broken:
            print(f"  {case['name']}: {text[:100]}")
        return whole

    @torch.inference_mode()
    def write(self, question: str, schema: dict[str, Any]) -> str:
        """The document, or as much of it as there is room for."""
        grammar = self._compiler.compile_json_schema(
            json.dumps(schema), any_whitespace=False, separators=(",", ":")
        )
        matcher = xgrammar.GrammarMatcher(grammar)
        allowed = xgrammar.allocate_token_bitmask(1, self._vocabulary.vocab_size)
        prompt = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )["input_ids"]
        tokens: list[int] = []
        cache, unread = None, prompt
        while len(tokens) < LONGEST:
            seen = self._model(input_ids=unread, past_key_values=cache, use_cache=True)
            cache, logits = seen.past_key_values, seen.logits[:, -1].float()
            matcher.fill_next_token_bitmask(allowed)
            xgrammar.apply_token_bitmask_inplace(logits, allowed)
            token = int(logits.argmax())
            matcher.accept_token(token)
            if token == self._tokenizer.eos_token_id:
                break
            tokens.append(token)
            unread = torch.tensor([[token]])
        return str(self._tokenizer.decode(tokens))


def follows(text: str, schema: dict[str, Any]) -> bool:
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True
