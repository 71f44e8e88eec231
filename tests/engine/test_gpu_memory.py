"""What is reckoned of the KV cache, against what the engine has."""

from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.model_files import read_model
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.gpu_memory.estimate import Model, read_options


def test_the_cache_of_the_engine_holds_as_many_tokens_as_reckoned(engine: VLLMEngine) -> None:
    # Which a CPU without AVX-512 has chosen for itself.
    dtype = str(engine._llm.model_config.dtype).removeprefix("torch.")
    configuration = load_configuration({"MAX_MODEL_LEN": "1024", "DTYPE": dtype})
    model = Model(read_model(configuration.model, None), read_options(configuration))
    cache = engine._llm.vllm_config.cache_config
    assert cache.num_gpu_blocks
    assert cache.num_gpu_blocks * cache.block_size == model.row(24).tokens
    assert model.row(24).cache == cache.kv_cache_memory_bytes == 268435456
