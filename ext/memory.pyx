"""Memory for large results: on a cache line's border, in huge pages, and used again.

A fresh array of 32 MB costs several milliseconds of page faults, more than filtering it. So the memory of the last
large results is kept when they are thrown away, and given to the next ones of the same size.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdlib cimport free

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    static void ask_for_huge_pages(void *memory, size_t size) { madvise(memory, size, MADV_HUGEPAGE); }
    #else
    static void ask_for_huge_pages(void *memory, size_t size) { (void)memory; (void)size; }
    #endif
    """
    void ask_for_huge_pages(void *memory, size_t size) nogil

cdef enum:
    HUGE_PAGE = 1 << 21
    KEPT = 2  # blocks
    LARGEST_KEPT = 1 << 28  # bytes of a block

cdef void *kept[KEPT]
cdef size_t kept_size[KEPT]


cdef class Block:
    """`size` bytes, writable through the buffer protocol; numpy.frombuffer makes an array of them."""

    cdef void *memory
    cdef size_t size

    def __cinit__(self, size_t size):
        cdef int i
        self.size = size
        for i in range(KEPT):
            if kept[i] != NULL and kept_size[i] == size:
                self.memory, kept[i] = kept[i], NULL
                return
        if posix_memalign(&self.memory, HUGE_PAGE if size >= HUGE_PAGE else 64, size):
            self.memory = NULL
            raise MemoryError(f"{size} bytes of memory are not to be had")
        if size >= HUGE_PAGE:
            ask_for_huge_pages(self.memory, size)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.memory, self.size, 0, flags)

    def __dealloc__(self):
        cdef int i
        if self.size <= LARGEST_KEPT:
            # The newest is the likeliest to be wanted again: it moves the others back, and the last is let go.
            for i in range(KEPT):
                self.memory, kept[i] = kept[i], self.memory
                self.size, kept_size[i] = kept_size[i], self.size
                if self.memory == NULL:
                    return
        free(self.memory)
