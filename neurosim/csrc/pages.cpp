// Pages of memory that a kernel is about to write for the first time.
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(_MSC_VER)
#define NS_EXPORT extern "C" __declspec(dllexport)
#else
#define NS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Asks for large pages in the part of a range that can have them. A large tensor comes from the system with no page in place, and putting
// them there one by one, 4 KiB each, takes several times as long as a kernel that fills them. It is a hint: the memory does not change.
NS_EXPORT void neurosim_large_pages(uint64_t start, uint64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uint64_t page = uint64_t(2) << 20, first = (start + page - 1) / page * page, end = (start + bytes) / page * page;
    if (first < end)
        madvise(reinterpret_cast<void *>(first), end - first, MADV_HUGEPAGE);
#else
    (void)start;
    (void)bytes;
#endif
}
