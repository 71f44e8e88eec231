"""Which headers of a request reach vLLM's application. Imports nothing."""

HEADERS = ("x-request-id", "x-session-id", "x-vllm-priority", "traceparent", "tracestate")
"""Headers of HTTP that mean something to vLLM's application, and do not change the worker."""
