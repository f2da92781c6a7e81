"""Products of matrices in NumPy, timed as ours are: a warm-up, then products for two seconds.

Prints `numpy`, versions, precision, n, threads, best and median GFLOPS, by tabs. The number of threads is OpenBLAS's own
variable, OPENBLAS_NUM_THREADS.
"""

import ctypes
import statistics
import sys
import time

import numpy

BUDGET_S, WARM_UP_S, MIN_RUNS = 2.0, 0.25, 3


def openblas():
    """Version and kernel of the OpenBLAS in this process, in our words."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = sorted({line.split()[-1] for line in maps if "openblas" in line and ".so" in line})
    for path in paths:
        library = ctypes.CDLL(path)
        if hasattr(library, "openblas_get_config"):
            library.openblas_get_config.restype = ctypes.c_char_p
            library.openblas_get_corename.restype = ctypes.c_char_p
            version = " ".join(library.openblas_get_config().decode().split()[:2])
            return f"{version} ({library.openblas_get_corename().decode()})"
    raise SystemExit("NumPy does not stand on OpenBLAS here: apt install libopenblas0-pthread")


def gflops(kind, n):
    """Best and median of the products."""
    a, b = (numpy.random.default_rng(seed).uniform(-0.75, 0.75, (n, n)).astype(kind) for seed in (1, 2))
    c = numpy.empty_like(a)
    warm_up = time.perf_counter()
    numpy.matmul(a, b, out=c)
    while time.perf_counter() - warm_up < WARM_UP_S:
        numpy.matmul(a, b, out=c)
    times, began = [], time.perf_counter()
    while len(times) < MIN_RUNS or time.perf_counter() - began < BUDGET_S:
        start = time.perf_counter()
        numpy.matmul(a, b, out=c)
        times.append(time.perf_counter() - start)
    return (2 * n**3 / seconds / 1e9 for seconds in (min(times), statistics.median(times)))


def main():
    n, threads = int(sys.argv[1]), sys.argv[2]
    engine = f"NumPy {numpy.__version__}, {openblas()}"
    for name, kind in (("SGEMM", numpy.float32), ("DGEMM", numpy.float64)):
        best, median = gflops(kind, n)
        print("numpy", engine, name, n, threads, f"{best:.3f}", f"{median:.3f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
