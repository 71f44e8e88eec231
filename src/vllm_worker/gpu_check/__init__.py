"""`python3 -m vllm_worker gpu-check`: the worker on this machine's GPUs, from its start to its end.

Everything is done from outside, as clients and the platform do it: this process touches no GPU.
"""
