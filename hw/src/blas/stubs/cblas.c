/* A BLAS for tests: multiplies for real, writes down how it was called, and misbehaves when built to.
   Built as OpenBLAS (-DOPENBLAS) or BLIS (-DBLIS); -DWRONG, -DCRASH, -DCRASH_AT_LOAD, -DEXIT, -DSERIAL.
   Calls go to the file named by CALLS. */
#include <stdio.h>
#include <stdlib.h>

static long threads = 1;

static void note(const char *what, int order, int ta, int tb, int m, int n, int k, int lda, int ldb, int ldc) {
    FILE *file = fopen(CALLS, "w");
    if (!file) abort();
    fprintf(file, "%s %d %d %d %d %d %d %d %d %d threads %ld", what, order, ta, tb, m, n, k, lda, ldb, ldc, threads);
    fclose(file);
}

#ifdef CRASH_AT_LOAD
__attribute__((constructor)) static void crash(void) { __builtin_trap(); }
#endif

#define GEMM(NAME, T)                                                                                            \
    void cblas_##NAME(int order, int ta, int tb, int m, int n, int k, T alpha, const T *a, int lda, const T *b,  \
                      int ldb, T beta, T *c, int ldc) {                                                          \
        note(#NAME, order, ta, tb, m, n, k, lda, ldb, ldc);                                                      \
        MISBEHAVE;                                                                                               \
        for (int i = 0; i < m; i++)                                                                              \
            for (int j = 0; j < n; j++) {                                                                        \
                T sum = 0;                                                                                       \
                for (int l = 0; l < k; l++) sum += a[i * lda + l] * b[l * ldb + j];                              \
                c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);                          \
            }                                                                                                    \
        SPOIL;                                                                                                   \
    }

#if defined CRASH
#define MISBEHAVE __builtin_trap()
#elif defined EXIT
#define MISBEHAVE exit(3)
#else
#define MISBEHAVE (void)0
#endif
#ifdef WRONG
#define SPOIL c[(m - 1) * ldc] += 0.5
#else
#define SPOIL (void)0
#endif

GEMM(sgemm, float)
GEMM(dgemm, double)

#ifdef SERIAL
#define THREADING 0
#else
#define THREADING 1
#endif

#ifdef OPENBLAS
void openblas_set_num_threads(int n) { threads = n; }
const char *openblas_get_config(void) { return "OpenBLAS 9.9.9 DYNAMIC_ARCH Stub MAX_THREADS=8"; }
const char *openblas_get_corename(void) { return "Stub"; }
int openblas_get_parallel(void) { return THREADING; }
#endif

#ifdef BLIS
void bli_thread_set_num_threads(long n) { threads = n; }
const char *bli_info_get_version_str(void) { return "9.9"; }
int bli_arch_query_id(void) { return 4; }
const char *bli_arch_string(int id) { return id == 4 ? "stubwell" : "?"; }
long bli_info_get_enable_threading(void) { return THREADING; }
#endif
