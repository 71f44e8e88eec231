/* libcuda.so.1 in which every call fails: cuInit with STUB_CUDA_ERROR, and those after it likewise.
   STUB_CUDA_LOG gets a line for each process that calls cuInit: its number. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NOT_INITIALIZED = 3, NO_DEVICE = 100 };

static pid_t initialized;

/* As with the driver itself, a copy of a process that has called it is of no use. */
int cuInit(unsigned int flags) {
    const char *log = getenv("STUB_CUDA_LOG"), *error = getenv("STUB_CUDA_ERROR");
    if (initialized && initialized != getpid()) return NOT_INITIALIZED;
    if (log && !initialized) {
        char line[32];
        int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        int length = snprintf(line, sizeof line, "%d\n", getpid());
        if (file >= 0 && write(file, line, length) == length) close(file);
    }
    initialized = getpid();
    return error ? atoi(error) : NO_DEVICE;
}

static int fail(void) { return initialized == getpid() ? NO_DEVICE : NOT_INITIALIZED; }

/* What the CUDA build of vLLM 0.33 and its packages are linked against. */
#define CALLS \
    CALL(cuCtxCreate_v2) CALL(cuCtxDestroy_v2) CALL(cuCtxGetCurrent) CALL(cuCtxGetDevice) \
    CALL(cuCtxGetId) CALL(cuCtxPopCurrent_v2) CALL(cuCtxPushCurrent_v2) CALL(cuCtxSetCurrent) \
    CALL(cuDeviceGet) CALL(cuDeviceGetAttribute) CALL(cuDeviceGetCount) CALL(cuDeviceGetName) \
    CALL(cuDevicePrimaryCtxGetState) CALL(cuDevicePrimaryCtxRelease_v2) \
    CALL(cuDevicePrimaryCtxRetain) CALL(cuEventCreate) CALL(cuEventDestroy_v2) \
    CALL(cuEventRecord) CALL(cuEventSynchronize) CALL(cuFuncGetAttribute) \
    CALL(cuFuncSetAttribute) CALL(cuFuncSetCacheConfig) CALL(cuGetExportTable) \
    CALL(cuLaunchCooperativeKernel) CALL(cuLaunchKernel) CALL(cuLaunchKernelEx) \
    CALL(cuLinkAddData_v2) CALL(cuLinkComplete) CALL(cuLinkCreate_v2) CALL(cuMemAddressFree) \
    CALL(cuMemAddressReserve) CALL(cuMemAllocAsync) CALL(cuMemAllocPitch_v2) CALL(cuMemAlloc_v2) \
    CALL(cuMemCreate) CALL(cuMemFreeAsync) CALL(cuMemFree_v2) \
    CALL(cuMemGetAllocationGranularity) CALL(cuMemMap) CALL(cuMemRelease) CALL(cuMemSetAccess) \
    CALL(cuMemUnmap) CALL(cuMemcpy2DAsync_v2) CALL(cuMemcpy2D_v2) CALL(cuMemcpyDtoH_v2) \
    CALL(cuMemcpyHtoD_v2) CALL(cuModuleGetFunction) CALL(cuModuleLoad) CALL(cuModuleLoadData) \
    CALL(cuModuleLoadDataEx) CALL(cuModuleUnload) \
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor) CALL(cuPointerGetAttribute) \
    CALL(cuStreamCreate) CALL(cuStreamDestroy_v2) CALL(cuStreamGetCtx) CALL(cuStreamSynchronize) \
    CALL(cuStreamWaitEvent) CALL(cuTensorMapEncodeTiled)

#define CALL(name) int name(void) { return fail(); }
CALLS

int cuGetErrorName(int error, const char **name) {
    *name = "CUDA_ERROR_STUB";
    return 0;
}

int cuGetErrorString(int error, const char **text) {
    *text = "the stub has no GPU";
    return 0;
}

/* The runtime asks before cuInit; it is no use of a GPU. */
int cuDriverGetVersion(int *version) {
    const char *given = getenv("STUB_CUDA_VERSION");
    *version = given ? atoi(given) : 13000;
    return 0;
}

/* The runtime gets its functions from here. */
int cuGetProcAddress_v2(const char *symbol, void **function, int version, unsigned long long flags,
                        int *status) {
    void *found = dlsym(RTLD_DEFAULT, symbol);
    *function = found ? found : (void *)fail;
    if (status) *status = 0;
    return 0;
}

int cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
