// Independent tasks on several threads.
#pragma once

#include <cstdint>

// Calls task(data, 0 … tasks - 1), each once, on at most `threads` threads of the calling process's OpenMP pool, the one that torch has loaded.
// Which thread runs which task is open, so a result must not depend on it. Without OpenMP the calling thread does all of it.
extern "C" void neurosim_parallel(void (*task)(void *, int64_t), void *data, int64_t tasks, int64_t threads);

// The same with any callable.
template <class Body> static inline void parallel_tasks(int64_t tasks, int64_t threads, Body &&body) {
    neurosim_parallel([](void *data, int64_t index) { (*static_cast<Body *>(data))(index); }, &body, tasks, threads);
}
