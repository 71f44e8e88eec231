"""Audio in a job and in an upload; the same sound gives the same text whichever way it comes."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.audio import sound
from tests.support.command_line import command_line
from tests.support.examples import run_section
from tests.support.served_model import NAME, ServedModel, openai_job, serving
from tests.support.small_models import CLIP_S, make_transcription_model

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
SETTINGS = {"language": "en", "temperature": 0}


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


WAV = sound()


@pytest.fixture(scope="module")
def model() -> Iterator[ServedModel]:
    with serving(make_transcription_model) as model:
        yield model


@pytest.fixture(scope="module")
def transcript(model: ServedModel) -> str:
    """The text of WAV."""
    return model.call(TRANSCRIPTIONS, file=text_of(WAV), **SETTINGS)["text"]


def transcribe(
    served: ServedModel, content: bytes = WAV, name: str = "sound.wav", **more: Any
) -> Any:
    """By an upload of OpenAI's client."""
    parameters = {"model": NAME, "file": (name, content)} | SETTINGS | more
    return served.client.audio.transcriptions.create(**parameters)


def streamed(events: list[dict[str, Any]]) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)


# The forms of a file


@pytest.mark.parametrize(
    "file",
    [
        text_of(WAV),
        base64.encodebytes(WAV).decode(),  # with line breaks
        f"data:audio/wav;base64,{text_of(WAV)}",
        {"data": text_of(WAV)},
        {"data": text_of(WAV), "filename": "sound.wav"},
    ],
    ids=["base64", "base64 in lines", "data URL", "object", "object with a name"],
)
def test_every_form_of_a_file_gives_the_same_text(
    model: ServedModel, transcript: str, file: Any
) -> None:
    answer = model.call(TRANSCRIPTIONS, file=file, **SETTINGS)
    assert answer == {"text": transcript, "usage": {"type": "duration", "seconds": 2}}


def test_an_upload_gives_the_same_text(model: ServedModel, transcript: str) -> None:
    answer = transcribe(model)
    assert answer.text == transcript
    assert answer.usage.seconds == 2


@pytest.mark.parametrize("path", ["", "/v2/local"], ids=["an upload", "a job"])
def test_the_command_line_gives_the_same_text(
    model: ServedModel, transcript: str, tmp_path: Path, path: str
) -> None:
    file = tmp_path / "sound.wav"
    file.write_bytes(WAV)
    where = ["--url", model.url + path, "--language", "en"]
    ran = command_line("transcribe", str(file), "--model", NAME, *where)
    assert ran.stdout.strip() == transcript.strip(), ran.stderr


def test_another_sound_gives_another_text(model: ServedModel, transcript: str) -> None:
    assert transcript
    assert transcribe(model, sound(pitch=880)).text != transcript


def test_a_lossless_format_gives_the_same_text(model: ServedModel, transcript: str) -> None:
    assert transcribe(model, sound("FLAC"), "sound.flac").text == transcript


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_formats_that_lose_something_work(model: ServedModel, kind: str) -> None:
    answer = transcribe(model, sound(kind), f"sound.{kind.lower()}")
    assert answer.text
    assert answer.usage.seconds == 2


def test_audio_longer_than_a_clip_is_heard_to_its_end(model: ServedModel) -> None:
    clip = transcribe(model, sound(seconds=CLIP_S))
    longer = transcribe(model, sound(seconds=3 * CLIP_S))
    assert (clip.usage.seconds, longer.usage.seconds) == (CLIP_S, 3 * CLIP_S)
    assert len(longer.text) > 2 * len(clip.text)


# The forms of an answer


def test_as_verbose_json(model: ServedModel) -> None:
    answer = transcribe(model, response_format="verbose_json")
    assert answer.language == "en"
    assert answer.duration == pytest.approx(1.5)
    assert [segment.id for segment in answer.segments] == list(range(len(answer.segments)))
    assert answer.text == " ".join(segment.text for segment in answer.segments)
    granular = transcribe(
        model, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert granular.segments == answer.segments
    job = {"response_format": "verbose_json", "timestamp_granularities": ["segment"]}
    assert model.call(TRANSCRIPTIONS, file=text_of(WAV), **SETTINGS, **job) == answer.to_dict()


def test_text_is_json_to_vllm(model: ServedModel, transcript: str) -> None:
    answer = model.call(TRANSCRIPTIONS, file=text_of(WAV), response_format="text", **SETTINGS)
    assert answer["text"] == transcript


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_vllm_writes_no_subtitles(model: ServedModel, response_format: str) -> None:
    with pytest.raises(openai.BadRequestError, match="only support response_format"):
        transcribe(model, response_format=response_format)


def test_a_stream_of_openais_client(model: ServedModel, transcript: str) -> None:
    events = [event.to_dict() for event in transcribe(model, stream=True)]
    assert {event["object"] for event in events} == {"transcription.chunk"}
    assert streamed(events) == transcript
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_the_stream_of_a_raw_job_has_whole_events(model: ServedModel, transcript: str) -> None:
    job = openai_job(TRANSCRIPTIONS, file=text_of(WAV), stream=True, **SETTINGS)
    chunks = model.outputs(job)
    assert len(chunks) > 2
    assert all(chunk.startswith("data: ") and chunk.endswith("\n\n") for chunk in chunks)
    *events, done = [event for chunk in chunks for event in chunk.split("\n\n") if event]
    assert done == "data: [DONE]"
    assert streamed([json.loads(event.removeprefix("data: ")) for event in events]) == transcript


def test_the_language_is_found_where_none_is_given(model: ServedModel) -> None:
    answer = model.call(
        TRANSCRIPTIONS, file=text_of(WAV), temperature=0, response_format="verbose_json"
    )
    assert len(answer["language"]) == 2


# The client marks the method as deprecated; the route is there all the same.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translations(model: ServedModel, transcript: str) -> None:
    file = ("sound.wav", WAV)
    answer = model.client.audio.translations.create(model=NAME, file=file, temperature=0)
    assert answer.text
    same = model.call(TRANSLATIONS, file=text_of(WAV), temperature=0)
    assert same == {"text": answer.text}
    assert answer.text != transcript


# What is refused


@pytest.mark.parametrize("content", [b"", b"this is no sound " * 50, WAV[:20]])
def test_what_is_no_audio_is_a_bad_request(model: ServedModel, content: bytes) -> None:
    with pytest.raises(openai.BadRequestError):
        transcribe(model, content)
    assert model.refusal(TRANSCRIPTIONS, file=text_of(content), **SETTINGS)["code"] == 400


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "file"),
        ({"file": None}, "file"),
        ({"file": 5}, "file"),
        ({"file": "not base64!"}, "base64"),
        ({"file": {"filename": "sound.wav"}}, "file"),
        ({"file": "data:audio/wav,plain"}, "data URL"),
        ({"file": "http://127.0.0.1:1/sound.wav"}, "https://"),
        # Not even from the machine's own addresses: jobs come from strangers.
        ({"file": "https://127.0.0.1:1/sound.wav"}, "public address"),
        ({"file": "https://localhost:1/sound.wav"}, "public address"),
        ({"file": "file:///etc/hostname"}, "file"),
        ({"file": text_of(WAV), "language": "xx"}, "Unsupported language"),
        ({"file": text_of(WAV), "response_format": "poem"}, "response_format"),
        ({"file": text_of(WAV), "temperature": "warm"}, "temperature"),
    ],
)
def test_bad_fields_are_a_bad_request(model: ServedModel, body: dict[str, Any], says: str) -> None:
    error = model.refusal(TRANSCRIPTIONS, **body)
    assert error["code"] == 400
    assert says in error["message"]


def test_an_unknown_model_is_not_found(model: ServedModel) -> None:
    with pytest.raises(openai.NotFoundError, match="nope"):
        transcribe(model, model="nope")


def test_a_transcription_model_has_no_chat(model: ServedModel) -> None:
    with pytest.raises(openai.NotFoundError, match="not a route of the loaded model"):
        model.client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "Hi"}]
        )


@pytest.mark.parametrize("job", [{"prompt": "Hi"}, {"prompt": "Hi", "stream": True}])
def test_a_native_job_fails_with_a_clear_error(model: ServedModel, job: dict[str, Any]) -> None:
    error = model.error(job)
    assert (error["code"], error["type"]) == (400, "BadRequestError")
    assert "generat" in error["message"]


def test_the_examples_of_the_documentation(model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(WAV)
    title = "/v1/audio/transcriptions and /v1/audio/translations"
    run_section(title, model.url, tmp_path, NAME)
