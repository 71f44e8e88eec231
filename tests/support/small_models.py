"""Models with random weights, made in a second. What they say means nothing.

Each function fills a folder with what vLLM needs to load the model. The same call always gives the
same weights. Tokens are bytes, so that a test can count them.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig

# Under its plain name the processor needs torchvision.
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.whisper.tokenization_whisper import LANGUAGES

# The smallest that vLLM's kernels for CPUs take: heads of 32.
HIDDEN, HEADS, LAYERS = 64, 2, 2
# Large enough for different inputs to lead to different outputs, which small weights do not.
SPREAD = 0.3
IMAGE_TOKENS = 7
"""What an image takes up in the image-text model's prompt: four, and three that enclose them."""
CLIP_S = 4
"""Seconds that the transcription model hears at a time; vLLM cuts longer audio."""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
    {{- message.role + ': ' -}}
    {%- for part in message.content -%}
        {%- if part.type == 'image' -%}<image>{%- else -%}{{- part.text -}}{%- endif -%}
    {%- endfor -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}
"""


def make_embedding_model(folder: Path) -> None:
    """A BERT with mean pooling and normalized vectors, laid out as sentence-transformers does."""
    tokenizer = _bert_tokenizer()
    _save(BertModel, _bert_config(tokenizer), folder)
    tokenizer.save_pretrained(folder)
    steps = ["Transformer", "Pooling", "Normalize"]
    modules = [
        {"idx": n, "name": str(n), "path": "" if n == 0 else f"{n}_{step}",
         "type": f"sentence_transformers.models.{step}"}
        for n, step in enumerate(steps)
    ]  # fmt: skip
    _write(folder / "modules.json", modules)
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    _write(folder / "1_Pooling" / "config.json", pooling)


def make_classifier(folder: Path, labels: list[str]) -> None:
    """A BERT that classifies texts. With one label it is a cross-encoder, which scores pairs."""
    tokenizer = _bert_tokenizer()
    names = dict(enumerate(labels))
    config = _bert_config(tokenizer, id2label=names, label2id={v: k for k, v in names.items()})
    _save(BertForSequenceClassification, config, folder)
    tokenizer.save_pretrained(folder)


def make_transcription_model(folder: Path) -> None:
    """A Whisper for clips of CLIP_S seconds, with all of Whisper's languages and timestamps."""
    features = WhisperFeatureExtractor(feature_size=80, chunk_length=CLIP_S)
    tokenizer = _whisper_tokenizer()
    end = tokenizer.eos_token_id
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=HIDDEN,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * HIDDEN,
        decoder_ffn_dim=2 * HIDDEN,
        max_source_positions=features.nb_max_frames // 2,  # the encoder's convolution halves them
        max_target_positions=64,
        init_std=SPREAD,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    _save(WhisperForConditionalGeneration, config, folder)
    WhisperProcessor(features, tokenizer).save_pretrained(folder)


def make_image_text_model(folder: Path) -> None:
    """An Idefics3: one of the few for which vLLM reads images without torchvision."""
    size, patch, shuffle = 32, 8, 2  # a token stands for a square of shuffle × shuffle patches
    image_tokens = (size // patch // shuffle) ** 2
    special = ["<pad>", "</s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>",
               "<global-img>"]  # fmt: skip
    tokenizer = _byte_tokenizer(special, pad_token="<pad>", eos_token="</s>")
    layers = {
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "initializer_range": SPREAD,
    }
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **layers,
    )
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(image_size=size, patch_size=patch, **layers),
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=shuffle,
    )
    _save(Idefics3ForConditionalGeneration, config, folder)
    edge = {"longest_edge": size}
    images = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    processor = Idefics3Processor(
        images, tokenizer, image_seq_len=image_tokens, chat_template=CHAT_TEMPLATE
    )
    processor.save_pretrained(folder)


def _save(kind: type[PreTrainedModel], config: Any, folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).eval().save_pretrained(folder)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _bert_config(tokenizer: PreTrainedTokenizerFast, **more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=256,
        initializer_range=SPREAD,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = _byte_tokenizer(
        ["[PAD]", "[CLS]", "[SEP]"],
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    markers = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=markers
    )
    return tokenizer


def _byte_tokenizer(special: list[str], **names: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(vocab=_bytes(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _whisper_tokenizer() -> WhisperTokenizer:
    """Whisper's special tokens in Whisper's order: the timestamps come last, as ordinary tokens."""
    tokenizer = WhisperTokenizer(vocab=_bytes() | {"<|endoftext|>": 256}, merges=[])
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
               "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
               "<|notimestamps|>"]  # fmt: skip
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_tokens([f"<|{n * 0.02:.2f}|>" for n in range(CLIP_S * 50 + 1)])
    return tokenizer


def _bytes() -> dict[str, int]:
    return {symbol: n for n, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
