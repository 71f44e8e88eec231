/* libnvidia-ml.so.1 of a machine with STUB_GPUS GPUs, all of the kind that STUB_GPU names. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned int uint;
typedef unsigned long long ull;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

static const ull MIB = 1024 * 1024;

static uint gpus(void) {
    const char *number = getenv("STUB_GPUS");
    return number ? (uint)atoi(number) : 1;
}

static const char *setting(const char *name, const char *usual) {
    const char *value = getenv(name);
    return value ? value : usual;
}

/* A handle is a GPU's number plus one. */
static int known(void *handle) { return (ull)handle >= 1 && (ull)handle <= gpus(); }

int nvmlInit(void) { return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(uint flags) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { return result ? "not supported by the stub" : "success"; }

int nvmlSystemGetDriverVersion(char *version, uint length) {
    snprintf(version, length, "%s", setting("STUB_DRIVER", "580.65.06"));
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 13000;
    return SUCCESS;
}

int nvmlDeviceGetCount(uint *count) {
    *count = gpus();
    return SUCCESS;
}
int nvmlDeviceGetCount_v2(uint *count) { return nvmlDeviceGetCount(count); }

int nvmlDeviceGetHandleByIndex(uint index, void **handle) {
    if (index >= gpus()) return INVALID_ARGUMENT;
    *handle = (void *)(ull)(index + 1);
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(uint index, void **handle) {
    return nvmlDeviceGetHandleByIndex(index, handle);
}

int nvmlDeviceGetIndex(void *handle, uint *index) {
    *index = (uint)((ull)handle - 1);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *name, uint length) {
    if (!known(handle)) return INVALID_ARGUMENT;
    snprintf(name, length, "%s", setting("STUB_GPU", "NVIDIA H100 80GB HBM3"));
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, uint length) {
    if (!known(handle)) return INVALID_ARGUMENT;
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012llu", (ull)handle);
    return SUCCESS;
}

/* STUB_CAPABILITY is 90 for compute capability 9.0. */
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    int capability = atoi(setting("STUB_CAPABILITY", "90"));
    *major = capability / 10;
    *minor = capability % 10;
    return SUCCESS;
}

struct memory { ull total, free, used; };
struct memory_v2 { uint version; ull total, reserved, free, used; };

static ull memory_of_all(void) { return MIB * strtoull(setting("STUB_MIB", "81559"), NULL, 10); }

int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory) {
    memory->total = memory->free = memory_of_all();
    memory->used = 0;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *memory) {
    memory->total = memory->free = memory_of_all();
    memory->used = memory->reserved = 0;
    return SUCCESS;
}

int nvmlDeviceGetP2PStatus(void *one, void *other, int index, int *status) {
    *status = 0; /* NVLink connects them all */
    return SUCCESS;
}

int nvmlDeviceGetNumaNodeId(void *handle, uint *node) {
    *node = 0;
    return SUCCESS;
}
