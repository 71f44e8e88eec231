"""A RunPod serverless worker that runs vLLM in its own process."""
