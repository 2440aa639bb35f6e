"""Which vector instructions this machine's CPU offers: they choose other machine code for the same numbers.

Cycles picks AVX2 or SSE4.2; Embree, OpenImageDenoise, numpy and OpenBLAS also know AVX-512. Sums are then taken in
another order, so that last bits differ: 19 % of Cycles' colour values by up to 2e-4 without AVX2.
"""

import platform
from pathlib import Path


def cpu_kernel(cpuinfo: str | None = None) -> str:
    """`avx512`, `avx2`, `sse4.2`, `arm64`, or the machine's name where none of them is known.

    cpuinfo: text of /proc/cpuinfo; None reads it.
    """
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return "arm64"
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            return machine
    flags = next((set(line.split()) for line in cpuinfo.splitlines() if line.startswith("flags")), set())
    # Skylake's set, which numpy and OpenBLAS ask for: an AVX-512 of foundation alone is taken for AVX2 by them.
    if {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    if "avx2" in flags:
        return "avx2"
    return "sse4.2" if "sse4_2" in flags else machine
