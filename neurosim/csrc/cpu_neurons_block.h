// A run of neurons over a sequence on the CPU: what it is given, and its scratch memory.
#pragma once

#include "cpu_neurons_rows.h"
#include "neuron_run.h"
#include "random_fill.h"

#include <cstdlib>

namespace NEUROSIM_SET {

// Values of parameter k for neurons first … first + n - 1.
template <class T> void expand(const Run &run, int64_t k, int64_t first, int64_t n, T *out) {
    const T *values = static_cast<const T *>(run.values[k]);
    const int64_t channels = run.channels[k], inner = run.inner[k];
    int64_t channel = first / inner % channels, left = inner - first % inner;
    for (int64_t j = 0; j < n;) {
        const int64_t end = j + left < n ? j + left : n;
        for (const T value = values[channel]; j < end; ++j)
            out[j] = value;
        channel = channel + 1 == channels ? 0 : channel + 1;
        left = inner;
    }
}

// Rows of a block's width, aligned to cache lines.
template <class T> class Scratch {
  public:
    Scratch(int64_t rows, int64_t width) : width_(width), memory_(malloc(rows * width * sizeof(T) + 64)) {
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

// The input of a block, and the noise on its membranes: converted, drawn.
template <class T> class Feed {
  public:
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

// The parameters of the block at hand, one row each; those that are one number are written once.
template <class T> class Layer {
  public:
    Neurons<T> p;
    T *syn_decay, *w_in;

    Layer(const Run &given, Scratch<T> &scratch) : run(given) {
        for (int64_t k = 0; k < PARAMETERS; ++k) {
            const T number = k == BIAS && run.numbers[k] == 0 ? T(-0.0) : static_cast<T>(run.numbers[k]);
            rows[k] = scratch.row_of(run.channels[k] == 1 ? *static_cast<const T *>(run.values[k]) : number);
        }
        p = {rows[0], rows[1], run.follows ? rows[1] : rows[2], rows[3], rows[4], rows[5], rows[6]};
        syn_decay = rows[7];
        w_in = rows[8];
    }

    void fill(int64_t first, int64_t n) const {
        for (int64_t k = 0; k < PARAMETERS; ++k)
            if (run.channels[k] > 1)
                expand(run, k, first, n, rows[k]);
    }

  private:
    const Run &run;
    T *rows[PARAMETERS];
};

// How the neurons are cut: blocks of `width`, and tasks of consecutive blocks that share one scratch.
struct Partition {
    int64_t width, blocks, tasks;

    // widest: how wide a block may be; rows of 16 numbers fill cache lines.
    Partition(int64_t units, int64_t steps, int64_t threads, int64_t widest) {
        const int64_t used = units * steps < 16384 ? 1 : threads;
        const int64_t share = ((units + used - 1) / used + 15) / 16 * 16;
        const int64_t most = widest < 16 ? 16 : widest / 16 * 16;
        width = share < most ? share : most;
        width = width < 16 ? 16 : width;
        blocks = (units + width - 1) / width;
        const int64_t several = used == 1 ? 1 : used * 4;
        tasks = blocks < several ? blocks : several;
    }

    int64_t first_block(int64_t task) const { return blocks * task / tasks; }
};

} // namespace NEUROSIM_SET
