// neurosim::philox_uniform and neurosim::philox_normal on the CPU.
#include "parallel.h"
#include "random_fill.h"

namespace NEUROSIM_SET {

constexpr int64_t RANDOM_PIECE = 4096; // a multiple of 4, so that no block is computed twice

template <class T> static void draw(const RandomFields &f, const Source &source) {
    const int storage = static_cast<int>(f.storage);
    parallel_tasks((f.count + RANDOM_PIECE - 1) / RANDOM_PIECE, f.threads, [&](int64_t piece) {
        T buffer[RANDOM_PIECE];
        const int64_t at = piece * RANDOM_PIECE, left = f.count - at, n = left < RANDOM_PIECE ? left : RANDOM_PIECE;
        T *out = row_out(f.out, at, storage, buffer);
        fill_noise(static_cast<int>(f.noise), out, source, f.first + at, n);
        row_done(f.out, at, storage, out, n);
    });
}

NS_ENTRY(random_fill)(const RandomFields *f) {
    const Source source = source_of(f->source, f->tensors);
    if (f->storage == FLOAT64)
        draw<double>(*f, source);
    else
        draw<float>(*f, source);
    return 0;
}

} // namespace NEUROSIM_SET
