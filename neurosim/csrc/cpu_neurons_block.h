// How neurons are cut into blocks, and what a block needs: scratch memory, parameters, input and noise.
#pragma once

#include "cpu_neurons_rows.h"
#include "neuron_run.h"
#include "random_fill.h"

#include <cstdlib>

namespace NEUROSIM_SET {

constexpr int64_t LINE = 16;            // numbers of a cache line: blocks begin at multiples where they can
constexpr int64_t WIDE = 2048;          // a block of equal neurons; the wider, the fewer times a page of memory is come back to
constexpr int64_t NARROW = 512;         // a block with arrays of parameters, which fit the first cache together
constexpr int64_t WORTH_A_BLOCK = 128;  // fewer equal neighbours are treated as varied
constexpr int64_t WORTH_THREADS = 1 << 14; // numbers; waking threads takes longer than fewer steps

// Blocks of consecutive neurons. If parameters are the same for `run` neighbours, no block goes across such a run.
class Partition {
  public:
    bool same; // the neurons of a block have the same parameters
    int64_t threads;
    int64_t width, blocks;

    // at_most: how wide a block may be, 0 for as wide as is good.
    Partition(const Run &run, bool can_be_same, int64_t at_most) : units(run.units), length(0) {
        for (int64_t k = 0; k < PARAMETERS; ++k)
            if (run.channels[k] > 1)
                length = common(run.inner[k], length);
        const bool noisy = run.input_noise != 0 || run.membrane_noise != 0;
        same = can_be_same && !noisy && (length == 0 || length >= WORTH_A_BLOCK);
        if (!same || length == 0)
            length = units;
        const int64_t most = at_most ? at_most : same ? WIDE : NARROW;
        threads = units * run.steps < WORTH_THREADS ? 1 : run.threads;
        const int64_t used = length < units ? 1 : threads;
        const int64_t wanted = (length + most * used - 1) / (most * used) * used;
        width = ((length + wanted - 1) / wanted + LINE - 1) / LINE * LINE;
        pieces = (length + width - 1) / width;
        blocks = (units + length - 1) / length * pieces;
    }

    int64_t first(int64_t block) const { return block / pieces * length + block % pieces * width; }
    int64_t count(int64_t block) const {
        const int64_t left = length - block % pieces * width;
        return left < width ? left : width;
    }

  private:
    int64_t units, length, pieces;

    static int64_t common(int64_t a, int64_t b) { return b == 0 ? a : common(b, a % b); }
};

// Rows of a block's width, aligned to cache lines.
template <class T> class Scratch {
  public:
    Scratch(int64_t rows, int64_t width) : width_(width), memory_(malloc(static_cast<size_t>(rows * width) * sizeof(T) + 64)) {
        next_ = reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(memory_) + 63) & ~uintptr_t{63});
    }
    ~Scratch() { free(memory_); }
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;

    bool ok() const { return memory_; }
    T *rows(int64_t count) {
        T *found = next_;
        next_ += count * width_;
        return found;
    }
    T *row_of(T value) {
        T *found = rows(1);
        for (int64_t j = 0; ok() && j < width_; ++j)
            found[j] = value;
        return found;
    }

  private:
    int64_t width_;
    void *memory_;
    T *next_;
};

// The parameters of the block at hand, one row each, or one number each if its neurons are the same.
template <bool SAME, class T> class Layer {
  public:
    static constexpr int64_t ROWS = PARAMETERS;
    Neurons<T> p;
    T *syn_decay, *w_in;

    Layer(const Run &given, Scratch<T> &scratch) : run(given) {
        for (int64_t k = 0; k < PARAMETERS; ++k) {
            const T number = k == BIAS && run.numbers[k] == 0 ? T(-0.0) : static_cast<T>(run.numbers[k]);
            const T value = run.channels[k] == 1 ? *static_cast<const T *>(run.values[k]) : number;
            rows[k] = SAME ? scratch.rows(1) : scratch.row_of(value);
            if (SAME && scratch.ok())
                *rows[k] = value;
        }
        p = {rows[0], rows[1], run.follows ? rows[1] : rows[2], rows[3], rows[4], rows[5], rows[6]};
        syn_decay = rows[7];
        w_in = rows[8];
    }

    void fill(int64_t first, int64_t n) const {
        for (int64_t k = 0; k < PARAMETERS; ++k)
            if (run.channels[k] > 1)
                expand(k, first, SAME ? 1 : n);
    }

  private:
    const Run &run;
    T *rows[PARAMETERS];

    void expand(int64_t k, int64_t first, int64_t n) const {
        const T *values = static_cast<const T *>(run.values[k]);
        const int64_t channels = run.channels[k], inner = run.inner[k];
        int64_t channel = first / inner % channels, left = inner - first % inner;
        for (int64_t j = 0; j < n;) {
            const int64_t end = j + left < n ? j + left : n;
            for (const T value = values[channel]; j < end; ++j)
                rows[k][j] = value;
            channel = channel + 1 == channels ? 0 : channel + 1;
            left = inner;
        }
    }
};

// The input of a block and the noise on its membranes: converted, drawn.
template <class T> class Feed {
  public:
    static constexpr int64_t ROWS = 3;

    Feed(const Run &given, Scratch<T> &scratch)
        : run(given), x_row(scratch.rows(1)), noise_row(scratch.rows(1)), membrane_row(scratch.row_of(T(-0.0))),
          input_source(place(run.input_source)), membrane_source(place(run.membrane_source)), step(run.counter ? run.counter[3] : run.step) {}

    const T *input(int64_t t, int64_t first, int64_t n) const {
        const T *x = row_in(run.x, t * run.units + first, run.storage, x_row, n);
        if (run.input_noise == 0)
            return x;
        fill_normal(noise_row, input_source, (step + t) * run.units + first, n);
        add_scaled_row(n, x, static_cast<T>(run.input_noise), noise_row, x_row);
        return x_row;
    }

    // -0 changes no number.
    const T *membrane(int64_t t, int64_t first, int64_t n) const {
        if (run.membrane_noise != 0) {
            fill_normal(membrane_row, membrane_source, (step + t) * run.units + first, n);
            scale_row(n, static_cast<T>(run.membrane_noise), membrane_row);
        }
        return membrane_row;
    }

  private:
    const Run &run;
    T *const x_row, *const noise_row, *const membrane_row;
    const Source input_source, membrane_source;
    const int64_t step;

    Source place(SourceFields fields) const {
        if (run.counter) {
            fields.chip = run.counter[0];
            fields.draw = run.counter[1];
            fields.call = run.counter[2];
        }
        return source_of(fields, nullptr);
    }
};

} // namespace NEUROSIM_SET
