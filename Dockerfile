# The worker's image.
#
#   gpu     on vLLM's own image                    docker build -t vllm-worker .
#   cpu     for machines without a GPU             docker build --target cpu -t vllm-worker:cpu .
#   baked   with a model inside, on either         docker build --target baked --build-arg MODEL_NAME=… .
#
# On another vLLM: --build-arg VLLM_VERSION=…, for `cpu` one of builder/requirements/versions.
#
# The gated or private model of a baked image is downloaded with a secret that stays in no layer:
#   docker build --target baked --secret id=HF_TOKEN,env=HF_TOKEN --build-arg MODEL_NAME=… .
# A model in a local folder:
#   docker build --target baked --build-context model=./folder --build-arg MODEL_NAME=/models/local .

# The versions here are written by `make generate`, from builder/requirements/{cuda,cpu}.in.
ARG VLLM_VERSION=0.33.0
# Without a suffix, vLLM's tags are its builds for CUDA 13; -cu129 is for hosts with an older driver.
ARG CUDA_SUFFIX=
ARG BASE_IMAGE=vllm/vllm-openai:v${VLLM_VERSION}${CUDA_SUFFIX}
ARG CPU_BASE_IMAGE=python:3.12-slim-bookworm
ARG BAKE_ON=gpu

# Nothing, unless a build context of that name is given.
FROM scratch AS model
# Wheels that the configured package index does not have.
FROM scratch AS wheels


FROM ${CPU_BASE_IMAGE} AS cpu-packages
WORKDIR /worker
COPY pyproject.toml ./
COPY builder/set_up.py builder/
COPY builder/requirements builder/requirements
# The build ends with a sentence when this is a version that is not known to have a CPU build.
ARG VLLM_VERSION=0.32.0
# With the system's certificates, for builds behind a proxy that has its own.
RUN --mount=type=bind,from=wheels,target=/wheels \
    UV_SYSTEM_CERTS=1 PIP_FIND_LINKS=/wheels python3 builder/set_up.py --build cpu --packages-only --vllm "$VLLM_VERSION"


FROM ${CPU_BASE_IMAGE} AS cpu
WORKDIR /worker
# What the CPU build of vLLM and its audio libraries link to.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=cpu-packages /worker/.venv .venv
COPY handler.py ./
COPY builder/download_model.py builder/
COPY src src
ENV PATH=/worker/.venv/bin:$PATH PYTHONPATH=/worker/src PYTHONUNBUFFERED=1 HOST=0.0.0.0
# The build ends with a sentence where the worker does not fit the vLLM that is there.
RUN python3 -m compileall -q handler.py builder src && python3 -m vllm_worker seams --check
LABEL org.opencontainers.image.title="vllm-worker" \
      org.opencontainers.image.description="A RunPod serverless worker with vLLM in its own process (CPU)" \
      org.opencontainers.image.licenses="Apache-2.0"
# With RunPod's queue there is no port: the platform sees by the queue that a worker lives.
HEALTHCHECK --start-period=5m \
    CMD python3 -c "import os, socket; e = os.environ; 'RUNPOD_WEBHOOK_GET_JOB' in e or socket.create_connection(('127.0.0.1', int(e.get('PORT') or (80 if {'RUNPOD_ENDPOINT_ID', 'RUNPOD_POD_ID'} & set(e) else 8000))), 5)"
CMD ["python3", "handler.py"]


FROM ${BASE_IMAGE} AS gpu
WORKDIR /worker
COPY builder/add_packages.py builder/download_model.py builder/
COPY builder/requirements/image.txt builder/requirements/
RUN python3 builder/add_packages.py builder/requirements/image.txt
COPY handler.py ./
COPY src src
ENV PYTHONPATH=/worker/src PYTHONUNBUFFERED=1 HOST=0.0.0.0
# The build ends with a sentence where the worker does not fit the vLLM that is there.
RUN python3 -m compileall -q handler.py builder src && python3 -m vllm_worker seams --check
LABEL org.opencontainers.image.title="vllm-worker" \
      org.opencontainers.image.description="A RunPod serverless worker with vLLM in its own process" \
      org.opencontainers.image.licenses="Apache-2.0"
# vLLM's image would start `vllm serve`.
ENTRYPOINT []
CMD ["python3", "handler.py"]


FROM ${BAKE_ON} AS baked
ARG MODEL_NAME=
ARG MODEL_REVISION=
ARG TOKENIZER_NAME=
ARG TOKENIZER_REVISION=
ARG QUANTIZATION=
ARG BASE_PATH=/models
ENV MODEL_NAME=$MODEL_NAME MODEL_REVISION=$MODEL_REVISION \
    TOKENIZER_NAME=$TOKENIZER_NAME TOKENIZER_REVISION=$TOKENIZER_REVISION \
    QUANTIZATION=$QUANTIZATION BASE_PATH=$BASE_PATH
COPY --from=model / /models/local/
RUN --mount=type=secret,id=HF_TOKEN python3 builder/download_model.py
# Everything is here: the worker starts and serves without a network.
ENV HF_HUB_OFFLINE=1


# Last, and so what is built when no target is named.
FROM gpu
