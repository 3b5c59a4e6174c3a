"""Which builds of the kernels this processor runs."""

cdef extern from *:
    """
    #if defined(__x86_64__)
    static int runs_v2(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
    static int runs_v3(void) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    }
    static int runs_v4(void) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl");
    }
    static void probe_cpu(void) { __builtin_cpu_init(); }
    #else
    static int runs_v2(void) { return 1; }
    static int runs_v3(void) { return 0; }
    static int runs_v4(void) { return 0; }
    static void probe_cpu(void) { }
    #endif
    """
    int runs_v2() nogil
    int runs_v3() nogil
    int runs_v4() nogil
    void probe_cpu() nogil
    const unsigned long CYTHON_HEX_VERSION


def supported():
    """The levels this processor runs, slowest first; empty below x86-64-v2."""
    probe_cpu()
    levels = []
    if runs_v2():
        levels.append("base")
        if runs_v3():
            levels.append("v3")
            if runs_v4():
                levels.append("v4")
    return levels


def cython_version():
    """The version of Cython that translated the kernels, as "3.1.2"."""
    cdef unsigned long v = CYTHON_HEX_VERSION
    return f"{v >> 24}.{(v >> 16) & 255}.{(v >> 8) & 255}"
