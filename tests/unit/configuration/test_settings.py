import pytest
from pydantic import ValidationError

from vllm_worker.configuration.settings import load_settings, parse_boolean
from vllm_worker.errors import ConfigurationError
from vllm_worker.streaming.schedule import Schedule


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = load_settings({})
    assert settings.max_concurrency == 300
    assert settings.schedule == Schedule(minimum=1, maximum=50, growth=3)
    assert settings.max_delay == 0.5
    assert settings.raw_openai_output
    assert settings.model_name == "demo"
    assert settings.served_model_names == ["demo"]
    assert settings.model.endswith("demo_model")


def test_each_variable_is_read() -> None:
    settings = load_settings(
        {
            "MODEL_NAME": "org/model",
            "MAX_CONCURRENCY": "7",
            "DEFAULT_BATCH_SIZE": "20",
            "DEFAULT_MIN_BATCH_SIZE": "2",
            "DEFAULT_BATCH_SIZE_GROWTH_FACTOR": "1.5",
            "RAW_OPENAI_OUTPUT": "0",
            "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "mine",
            "OPENAI_RESPONSE_ROLE": "helper",
            "CUSTOM_CHAT_TEMPLATE": "{{ messages }}",
            "STREAM_MAX_DELAY_MS": "0",
        }
    )
    assert settings.model == "org/model"
    assert settings.served_model_names == ["mine"]
    assert settings.max_concurrency == 7
    assert settings.schedule == Schedule(2, 20, 1.5)
    assert not settings.raw_openai_output
    assert settings.openai_response_role == "helper"
    assert settings.custom_chat_template == "{{ messages }}"
    assert settings.max_delay == 0


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"MAX_CONCURRENCY": " ", "RAW_OPENAI_OUTPUT": ""}) == load_settings({})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings({}).max_concurrency = 5


@pytest.mark.parametrize("text", ["1", "true", "TRUE", " True "])
def test_true(text: str) -> None:
    assert parse_boolean(text) is True


@pytest.mark.parametrize("text", ["0", "false", "False"])
def test_false(text: str) -> None:
    assert parse_boolean(text) is False


def test_all_mistakes_are_reported_by_variable() -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(
            {
                "MAX_CONCURRENCY": "many",
                "DEFAULT_BATCH_SIZE": "0",
                "DEFAULT_BATCH_SIZE_GROWTH_FACTOR": "nan",
                "RAW_OPENAI_OUTPUT": "maybe",
                "STREAM_MAX_DELAY_MS": "-1",
            }
        )
    assert sorted(raised.value.problems) == [
        "DEFAULT_BATCH_SIZE='0': must be greater than or equal to 1.",
        "DEFAULT_BATCH_SIZE_GROWTH_FACTOR='nan': must be a finite number.",
        "MAX_CONCURRENCY='many': must be a number of jobs, or auto.",
        "RAW_OPENAI_OUTPUT='maybe': must be 0, 1, true or false.",
        "STREAM_MAX_DELAY_MS='-1': must be greater than or equal to 0.",
    ]


def test_on_runpod_a_model_must_be_named() -> None:
    runpod = {"RUNPOD_WEBHOOK_GET_JOB": "http://host/v2/id/job-take/$ID"}
    assert load_settings(runpod | {"MODEL_NAME": "demo"}).on_runpod
    assert not load_settings({}).on_runpod
    with pytest.raises(ConfigurationError, match="MODEL_NAME is not set"):
        load_settings(runpod)
