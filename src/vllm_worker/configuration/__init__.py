"""The configuration of a worker: read in one place, checked before anything heavy is imported."""

from vllm_worker.configuration.load import Configuration, load_configuration

__all__ = ["Configuration", "load_configuration"]
