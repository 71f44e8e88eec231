# docker buildx bake            the image for GPUs
# docker buildx bake cu129      the same for hosts with an older driver
# docker buildx bake cpu        the image for machines without one
# MODEL_NAME=… docker buildx bake baked

variable "REGISTRY" {
  default = ""
}

variable "NAME" {
  default = "vllm-worker"
}

variable "VERSION" {
  default = "0.1.0"
}

# The versions here are written by `make generate`, from builder/requirements/{cuda,cpu}.in.
variable "VLLM_VERSION" {
  default = "0.33.0"
}

# That of an image for CPUs: VLLM_VERSION if it was given, and else the newest with a CPU build.
variable "CPU_VLLM_VERSION" {
  default = VLLM_VERSION == "0.33.0" ? "0.32.0" : VLLM_VERSION
}

variable "PLATFORM" {
  default = "linux/amd64"
}

variable "MODEL_NAME" {
  default = ""
}

variable "MODEL_REVISION" {
  default = ""
}

variable "TOKENIZER_NAME" {
  default = ""
}

variable "TOKENIZER_REVISION" {
  default = ""
}

variable "QUANTIZATION" {
  default = ""
}

variable "BASE_PATH" {
  default = "/models"
}

variable "BAKE_ON" {
  default = "gpu"
}

function "tag" {
  params = [vllm, suffix]
  result = ["${REGISTRY == "" ? "" : "${REGISTRY}/"}${NAME}:${VERSION}-vllm${vllm}${suffix}"]
}

# The image for GPUs is `default`, so that a bare `bake` makes it.
target "default" {
  target    = "gpu"
  platforms = [PLATFORM]
  tags      = tag(VLLM_VERSION, "")
  args = {
    # Only one that was given: of those that are pinned, each stage of the Dockerfile knows its own.
    VLLM_VERSION = VLLM_VERSION == CPU_VLLM_VERSION ? VLLM_VERSION : null
  }
  labels = {
    "org.opencontainers.image.version" = VERSION
  }
}

# For hosts whose driver knows no CUDA 13.
target "cu129" {
  inherits = ["default"]
  tags     = tag(VLLM_VERSION, "-cu129")
  args = {
    CUDA_SUFFIX = "-cu129"
  }
}

target "cpu" {
  inherits = ["default"]
  target   = "cpu"
  tags     = tag(CPU_VLLM_VERSION, "-cpu")
}

target "baked" {
  inherits = ["default"]
  target   = "baked"
  tags     = tag(BAKE_ON == "cpu" ? CPU_VLLM_VERSION : VLLM_VERSION, "-baked")
  secret   = ["id=HF_TOKEN,env=HF_TOKEN"]
  args = {
    BAKE_ON            = BAKE_ON
    MODEL_NAME         = MODEL_NAME
    MODEL_REVISION     = MODEL_REVISION
    TOKENIZER_NAME     = TOKENIZER_NAME
    TOKENIZER_REVISION = TOKENIZER_REVISION
    QUANTIZATION       = QUANTIZATION
    BASE_PATH          = BASE_PATH
  }
}
