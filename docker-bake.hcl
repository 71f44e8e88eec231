# docker buildx bake            the image for GPUs
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

variable "VLLM_VERSION" {
  default = "0.32.0"
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
  params = [suffix]
  result = ["${REGISTRY == "" ? "" : "${REGISTRY}/"}${NAME}:${VERSION}-vllm${VLLM_VERSION}${suffix}"]
}

# The image for GPUs is `default`, so that a bare `bake` makes it.
target "default" {
  target    = "gpu"
  platforms = [PLATFORM]
  tags      = tag("")
  args = {
    VLLM_VERSION = VLLM_VERSION
  }
  labels = {
    "org.opencontainers.image.version" = VERSION
  }
}

target "cpu" {
  inherits = ["default"]
  target   = "cpu"
  tags     = tag("-cpu")
}

target "baked" {
  inherits = ["default"]
  target   = "baked"
  tags     = tag("-baked")
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
