/* libcudart and libcublas for tests, in one file: built twice, with -DCUDART or -DCUBLAS. They multiply for real, append
   every call to the file named by CALLS, and misbehave when built to: -DNO_DEVICE, -DOLD_DRIVER, -DOUT_OF_MEMORY,
   -DNO_HANDLE, -DWRONG_ARCH, -DWRONG, -DCRASH. A device pointer is a host pointer with its top bits changed, so that one
   mistaken for the other crashes. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE(pointer) ((void *)((uintptr_t)(pointer) ^ ((uintptr_t)0x5a << (8 * sizeof(void *) - 8))))

static void note(const char *format, ...) {
    FILE *file = fopen(CALLS, "a");
    if (!file) abort();
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fputc('\n', file);
    fclose(file);
}

#ifdef CUDART
int cudaGetDeviceCount(int *count) {
#if defined NO_DEVICE
    return 100;
#elif defined OLD_DRIVER
    return 35;
#endif
    *count = 1;
    return 0;
}
int cudaGetDeviceProperties(void *properties, int device) {
    if (device != 0) return 101;
    memset(properties, 1, 1032);
    strcpy(properties, "Stub Orin");
    return 0;
}
int cudaDriverGetVersion(int *version) {
    *version = 10020;
    return 0;
}
const char *cudaGetErrorString(int code) { return code == 2 ? "out of memory" : "some error"; }
int cudaMalloc(void **pointer, size_t bytes) {
#ifdef OUT_OF_MEMORY
    return 2;
#endif
    note("malloc %zu", bytes);
    *pointer = DEVICE(malloc(bytes));
    return 0;
}
int cudaFree(void *pointer) {
    note("free");
    free(DEVICE(pointer));
    return 0;
}
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
    note("copy %d %zu", kind, bytes);
    if (kind == 1) memcpy(DEVICE(to), from, bytes);
    else if (kind == 2) memcpy(to, DEVICE(from), bytes);
    else return 21;
    return 0;
}
int cudaDeviceSynchronize(void) { return 0; }
int cudaEventCreate(void **event) { return (*event = malloc(1)) ? 0 : 2; }
int cudaEventRecord(void *event, void *stream) {
    note("record");
    return stream ? 1 : 0;
}
int cudaEventSynchronize(void *event) { return 0; }
int cudaEventElapsedTime(float *milliseconds, void *begin, void *end) {
    *milliseconds = 2.5f;
    return 0;
}
int cudaEventDestroy(void *event) {
    free(event);
    return 0;
}
#endif

#ifdef CUBLAS
static int the_handle;

int cublasCreate_v2(void **handle) {
#ifdef NO_HANDLE
    return 1;
#endif
    *handle = &the_handle;
    return 0;
}
int cublasDestroy_v2(void *handle) {
    note("destroy");
    return handle == &the_handle ? 0 : 1;
}
int cublasGetProperty(int type, int *value) {
    *value = type == 0 ? 11 : type == 1 ? 6 : 3;
    return 0;
}

#ifdef WRONG_ARCH
#define MISBEHAVE return 8
#elif defined CRASH
#define MISBEHAVE __builtin_trap()
#else
#define MISBEHAVE (void)0
#endif
#ifdef WRONG
#define SPOIL c[m - 1] += 0.5
#else
#define SPOIL (void)0
#endif

/* Column by column, as cuBLAS does. */
#define GEMM(NAME, T)                                                                                              \
    int NAME(void *handle, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda, const T *b,   \
             int ldb, const T *beta, T *c, int ldc) {                                                              \
        note(#NAME " %s %d %d %d %d %d %d %d %d %g %g", handle == &the_handle ? "handle" : "no handle", ta, tb, m, \
             n, k, lda, ldb, ldc, (double)*alpha, (double)*beta);                                                  \
        MISBEHAVE;                                                                                                 \
        a = DEVICE(a), b = DEVICE(b), c = DEVICE(c);                                                               \
        for (int j = 0; j < n; j++)                                                                                \
            for (int i = 0; i < m; i++) {                                                                          \
                T sum = 0;                                                                                         \
                for (int l = 0; l < k; l++) sum += a[i + l * lda] * b[l + j * ldb];                                \
                c[i + j * ldc] = *alpha * sum + (*beta == 0 ? 0 : *beta * c[i + j * ldc]);                         \
            }                                                                                                      \
        SPOIL;                                                                                                     \
        return 0;                                                                                                  \
    }
GEMM(cublasSgemm_v2, float)
GEMM(cublasDgemm_v2, double)
#endif
