// What one CUDA thread is given: W neighbouring neurons, their parameters, state and noise. All that chooses code is fixed when it is compiled:
// NS_STORED (type in memory), NS_WIDTH (W), NS_RESET, NS_STRICT, NS_SYNAPSE, NS_NOISE (1: on the input, 2: on the membrane),
// NS_VARIED (bit k: parameter k is not the same for all neurons), NS_NEUTRAL (bit k: it is a number that changes nothing).
#pragma once

#include "neuron.h"
#include "neuron_run.h"
#include "vector.h"

namespace NEUROSIM_SET {

using S = NS_STORED;
using T = Computed<S>;
constexpr int W = NS_WIDTH;
constexpr int RESET = NS_RESET;
constexpr bool STRICT = NS_STRICT, SYNAPSE = NS_SYNAPSE, INPUT_NOISE = (NS_NOISE & 1) != 0, MEMBRANE_NOISE = (NS_NOISE & 2) != 0;

// W numbers of the compute type, in accesses of at most 16 bytes.
constexpr int PART = W * sizeof(T) <= 16 ? W : 16 / sizeof(T);

NS_DEVICE void read_row(T (&out)[W], const void *base, int64_t first) {
#pragma unroll
    for (int part = 0; part < W; part += PART) {
        const Pack<T, PART> pack = read<T, PART>(base, first + part);
#pragma unroll
        for (int w = 0; w < PART; ++w)
            out[part + w] = element<T, PART>(pack, w);
    }
}

NS_DEVICE void read_row_or_zero(T (&out)[W], const void *base, int64_t first) {
    if (base) {
        read_row(out, base, first);
        return;
    }
#pragma unroll
    for (int w = 0; w < W; ++w)
        out[w] = 0;
}

NS_DEVICE void write_row(void *base, int64_t first, const T (&values)[W]) {
#pragma unroll
    for (int part = 0; part < W; part += PART)
        write<T, PART>(base, first + part, packed<T, PART>(values + part));
}

// Parameter K of the thread's neurons.
template <int K> NS_DEVICE void parameter(T (&out)[W], const Run &run, int64_t first) {
    if constexpr ((NS_NEUTRAL >> K & 1) != 0) {
#pragma unroll
        for (int w = 0; w < W; ++w)
            out[w] = K == BIAS ? T(-0.0) : T(1);
        return;
    }
    const T *values = static_cast<const T *>(run.values[K]);
    if constexpr ((NS_VARIED >> K & 1) != 0) {
        const int64_t inner = run.inner[K], channels = run.channels[K];
        int64_t channel = first / inner % channels, place = first % inner;
#pragma unroll
        for (int w = 0; w < W; ++w) {
            out[w] = values[channel];
            if (++place == inner) {
                place = 0;
                channel = channel + 1 == channels ? 0 : channel + 1;
            }
        }
        return;
    }
    const T number = K == BIAS && run.numbers[K] == 0 ? T(-0.0) : static_cast<T>(run.numbers[K]);
    const T value = run.channels[K] == 1 ? *values : number;
#pragma unroll
    for (int w = 0; w < W; ++w)
        out[w] = value;
}

struct State {
    T v[W], i[W];
};

class Thread {
  public:
    Neuron<T> p[W];
    T syn_decay[W], w_in[W];

    NS_METHOD Thread(const Run &given, int64_t first) : run(given), n(first) {
        T decay[W], threshold[W], reset_by[W], gain[W], bias[W], v_reset[W], sign[W];
        parameter<0>(decay, run, n);
        parameter<1>(threshold, run, n);
        parameter<2>(reset_by, run, n);
        parameter<3>(gain, run, n);
        parameter<4>(bias, run, n);
        parameter<5>(v_reset, run, n);
        parameter<6>(sign, run, n);
        parameter<7>(syn_decay, run, n);
        parameter<8>(w_in, run, n);
#pragma unroll
        for (int w = 0; w < W; ++w)
            p[w] = {decay[w], threshold[w], run.follows ? threshold[w] : reset_by[w], gain[w], bias[w], v_reset[w], sign[w]};
        if constexpr (INPUT_NOISE || MEMBRANE_NOISE) {
            step = run.counter ? run.counter[3] : run.step;
            input_source = place(run.input_source);
            membrane_source = place(run.membrane_source);
        }
    }

    NS_METHOD State start() const {
        State state;
        read_row_or_zero(state.v, run.v, n);
        read_row_or_zero(state.i, SYNAPSE ? run.i : nullptr, n);
        return state;
    }

    // The input of step t with its noise.
    NS_METHOD void input(T (&x)[W], const Pack<S, W> &pack, int64_t t) const {
#pragma unroll
        for (int w = 0; w < W; ++w)
            x[w] = element<S, W>(pack, w);
        if constexpr (INPUT_NOISE)
            add_noise(x, input_source, static_cast<T>(run.input_noise), t);
    }

    // One step from x: the state moves on, h and what drove the membrane are handed out, and whether the membrane before was beyond.
    NS_METHOD void advance(State &state, const T (&x)[W], int64_t t, T (&h)[W], T (&drive)[W], bool (&before)[W]) const {
#pragma unroll
        for (int w = 0; w < W; ++w) {
            drive[w] = x[w];
            if constexpr (SYNAPSE)
                drive[w] = state.i[w] = syn_decay[w] * state.i[w] + w_in[w] * x[w];
            before[w] = looks_back(RESET) && fires<STRICT>(state.v[w], p[w]);
            h[w] = before_spike<RESET>(state.v[w], drive[w], before[w], p[w]);
        }
        if constexpr (MEMBRANE_NOISE)
            add_noise(h, membrane_source, static_cast<T>(run.membrane_noise), t);
#pragma unroll
        for (int w = 0; w < W; ++w)
            state.v[w] = after_spike<RESET>(h[w], fires<STRICT>(h[w], p[w]), before[w], p[w]);
    }

  private:
    const Run &run;
    const int64_t n;
    int64_t step;
    Source input_source, membrane_source;

    NS_METHOD Source place(SourceFields fields) const {
        if (run.counter) {
            fields.chip = run.counter[0];
            fields.draw = run.counter[1];
            fields.call = run.counter[2];
        }
        return source_of(fields, nullptr);
    }

    // Rows begin at multiples of W, so that the W elements never begin within a pair that others share.
    NS_METHOD void add_noise(T (&values)[W], const Source &source, T level, int64_t t) const {
        const int64_t element = (step + t) * run.units + n;
        if constexpr (W % 4 == 0) {
#pragma unroll
            for (int w = 0; w < W; w += 4) {
                T z[4];
                block_of<GAUSSIAN>(source, static_cast<uint32_t>((element + w) / 4), z);
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    values[w + j] = values[w + j] + level * z[j];
            }
        } else {
            uint32_t word[4];
            philox(source, static_cast<uint32_t>(element / 4), word);
            const bool later = (element & 2) != 0;
            T z[2];
            normal_pair(later ? word[2] : word[0], later ? word[3] : word[1], z[0], z[1]);
            if constexpr (W == 2) {
                values[0] = values[0] + level * z[0];
                values[1] = values[1] + level * z[1];
            } else {
                values[0] = values[0] + level * ((element & 1) != 0 ? z[1] : z[0]);
            }
        }
    }
};

} // namespace NEUROSIM_SET
