// Neurons over a sequence, backward: a thread recomputes the course of NS_WIDTH neighbouring neurons from the input, keeps it in registers and
// walks it back. A sequence longer than NS_STEPS is cut into chunks; a first run leaves the state at the beginning of each in memory.
// NS_WHOLE: the sequence has NS_STEPS steps. NS_AHEAD: steps read before they are needed. NS_CODE: of the surrogate. NS_ATTACHED: whether the
// gradient goes through the reset. NS_GRADS: 1 there is one of the spikes, 2 of the record. NS_NEEDS: bit k: of parameter k it is wanted.
#include "neuron_thread.h"
#include "surrogate.h"

using namespace NEUROSIM_SET;

struct BackwardOnCuda {
    BackwardArgs args;
    void *checkpoints; // (chunks - 1, 1 or 2, units): membrane, and current with a synapse, at the beginning of each chunk but the first
};

constexpr int STEPS = NS_STEPS;
constexpr bool ATTACHED = NS_ATTACHED, FROM_SPIKES = (NS_GRADS & 1) != 0, FROM_RECORD = (NS_GRADS & 2) != 0;
constexpr bool SLOPE = FROM_SPIKES || (ATTACHED && resets_now(RESET));
constexpr bool SLOPE_BEFORE = ATTACHED && looks_back(RESET) && RESET != RESET_SOFT_BOTH;
NS_DEVICE constexpr bool wanted(int k) { return (NS_NEEDS >> k & 1) != 0; }
constexpr bool DRIVE = wanted(3) || (SLOPE_BEFORE && RESET == RESET_HARD_NEXT_ERASING);
constexpr bool INPUT = (DRIVE && !SYNAPSE) || wanted(8);              // read once more on the way back
constexpr bool CURRENTS = SYNAPSE && (DRIVE || wanted(7)); // kept

// The compiler is to forget what it knows of this number. Otherwise it keeps all that it has derived from it, and those registers cost more
// than deriving it again.
template <class Number> NS_DEVICE void settle(Number &value) {
#if defined(__CUDA_ARCH__)
    if constexpr (Number(0.5) == 0)
        asm volatile("" : "+l"(value));
    else if constexpr (sizeof(Number) == 4)
        asm volatile("" : "+f"(value));
    else
        asm volatile("" : "+d"(value));
#endif
}

// A stretch of at most STEPS steps.
struct Course {
    T v[W], i[W];               // state before the first step
    T h[STEPS][W];              // membrane before the spike
    T currents[CURRENTS ? STEPS : 1][W]; // after every step
    uint32_t beyond[W];         // bit k: the membrane before step k was beyond the threshold

    NS_METHOD bool beyond_before(int k, int w) const { return (beyond[w] >> k & 1u) != 0; }

    // Membrane before step k.
    NS_METHOD T before(int k, int w, const Neuron<T> &p) const {
        if (k == 0)
            return v[w];
        return after_spike<RESET>(h[k - 1][w], fires<STRICT>(h[k - 1][w], p), beyond_before(k - 1, w), p);
    }
};

struct Sums {
    T of[PARAMETERS][W];
};

class Backward {
  public:
    NS_METHOD Backward(const BackwardArgs &args, int64_t first)
        : a(args), here(args.run, first), shape(shape_of<T>(NS_CODE, args.first, args.second)), n(first), units(args.run.units) {
        read_row_or_zero(into_v, a.grad_v, n);
        read_row_or_zero(into_i, SYNAPSE ? a.grad_i : nullptr, n);
#pragma unroll
        for (int k = 0; k < PARAMETERS; ++k)
#pragma unroll
            for (int w = 0; w < W; ++w)
                sums[k][w] = 0;
    }

    NS_METHOD State start() const { return here.start(); }

    // Steps from … from + count - 1 onward from the state, without keeping them.
    NS_METHOD void skip(State &state, int64_t from, int64_t count) const {
        for (int64_t at = from; at < from + count; at += NS_AHEAD) {
            Pack<S, W> ahead[NS_AHEAD];
#pragma unroll
            for (int k = 0; k < NS_AHEAD; ++k)
                if (at + k < from + count)
                    ahead[k] = read<S, W>(a.run.x, (at + k) * units + n);
#pragma unroll
            for (int k = 0; k < NS_AHEAD; ++k)
                if (at + k < from + count) {
                    T x[W], h[W], drive[W];
                    bool before[W];
                    here.input(x, ahead[k], at + k);
                    here.advance(state, x, at + k, h, drive, before);
                }
        }
    }

    // The same steps, kept. Those from `count` on read the last row again, and nobody looks at what they give.
    NS_METHOD void record(Course &course, State state, int64_t from, int count) const {
        Pack<S, W> ahead[STEPS];
        int64_t at = from * units + n;
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
            ahead[k] = read<S, W>(a.run.x, at);
            at += NS_WHOLE || k + 1 < count ? units : 0;
            settle(at);
        }
#pragma unroll
        for (int w = 0; w < W; ++w) {
            course.v[w] = state.v[w];
            course.i[w] = state.i[w];
            course.beyond[w] = 0;
        }
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
            T x[W], drive[W];
            bool before[W];
            here.input(x, ahead[k], from + k);
            here.advance(state, x, from + k, course.h[k], drive, before);
#pragma unroll
            for (int w = 0; w < W; ++w) {
                settle(course.h[k][w]);
                course.beyond[w] |= before[w] ? 1u << k : 0u;
                if constexpr (CURRENTS)
                    course.currents[k][w] = drive[w];
            }
        }
    }

    // Back through them.
    NS_METHOD void walk_back(const Course &course, int64_t from, int count) {
        const int64_t last = from + count - 1;
        int64_t at = last * units + n, spikes_at = last * a.spikes_row + n, record_at = last * a.record_row + n, out_at = at;
#pragma unroll
        for (int end = STEPS; end > 0; end -= NS_AHEAD) {
            Pack<S, W> spikes[NS_AHEAD], record[NS_AHEAD], input[NS_AHEAD];
#pragma unroll
            for (int j = 0; j < NS_AHEAD; ++j) {
                const int k = end - 1 - j;
                if (k < 0)
                    break;
                if constexpr (FROM_SPIKES)
                    spikes[j] = read<S, W>(a.grad_spikes, spikes_at);
                if constexpr (FROM_RECORD)
                    record[j] = read<S, W>(a.grad_record, record_at);
                if constexpr (INPUT)
                    input[j] = read<S, W>(a.run.x, at);
                if (k > 0 && (NS_WHOLE || k < count)) {
                    at -= units;
                    spikes_at -= a.spikes_row;
                    record_at -= a.record_row;
                }
                settle(at);
                settle(spikes_at);
                settle(record_at);
            }
#pragma unroll
            for (int j = 0; j < NS_AHEAD; ++j) {
                const int k = end - 1 - j;
                if (k >= 0 && (NS_WHOLE || k < count)) {
                    step_back(course, k, from + k, out_at, spikes[j], record[j], input[j]);
                    out_at -= units;
                    settle(out_at);
                }
            }
        }
    }

    NS_METHOD void finish() {
        write_row(a.grad_v_before, n, into_v);
        if constexpr (SYNAPSE)
            write_row(a.grad_i_before, n, into_i);
        int64_t row = 0;
#pragma unroll
        for (int k = 0; k < PARAMETERS; ++k)
            if (wanted(k)) {
#pragma unroll
                for (int w = 0; w < W; ++w)
                    sums[k][w] = k == 1 && a.run.follows ? sums[1][w] + sums[2][w] : sums[k][w];
                write_row(a.sums, row++ * units + n, sums[k]);
            }
    }

  private:
    const BackwardArgs &a;
    const Thread here;
    const Shape<T> shape;
    const int64_t n, units;
    T into_v[W], into_i[W], sums[PARAMETERS][W];

    NS_METHOD T slope(T v, const Neuron<T> &p) const { return p.sign * surrogate_gradient<NS_CODE>(p.sign * (v - p.threshold), shape); }

    NS_METHOD void step_back(const Course &course, int k, int64_t t, int64_t at, const Pack<S, W> &spikes, const Pack<S, W> &record, const Pack<S, W> &input) {
        T x[W], out[W];
        if constexpr (INPUT)
            here.input(x, input, t);
#pragma unroll
        for (int w = 0; w < W; ++w) {
            const Neuron<T> &p = here.p[w];
            const T h = course.h[k][w], v = course.before(k, w, p);
            if constexpr (FROM_RECORD)
                into_v[w] = into_v[w] + element<S, W>(record, w);
            T drive = 0, into_spike = 0;
            if constexpr (SYNAPSE && CURRENTS)
                drive = course.currents[k][w];
            else if constexpr (INPUT)
                drive = x[w];
            if constexpr (FROM_SPIKES)
                into_spike = element<S, W>(spikes, w);
            const bool fired = fires<STRICT>(h, p), beyond = looks_back(RESET) && fires<STRICT>(v, p);
            const Back<T> d = back<RESET, ATTACHED, T>(into_v[w], into_spike, SLOPE ? slope(h, p) : T(0), SLOPE_BEFORE ? slope(v, p) : T(0), h, v,
                                                       fired, beyond, drive, p);
            into_v[w] = d.before;
            sums[0][w] += d.decay;
            sums[1][w] += d.threshold;
            sums[2][w] += d.reset_by;
            sums[3][w] += d.gain;
            sums[4][w] += d.bias;
            sums[5][w] += d.v_reset;
            out[w] = d.drive;
            if constexpr (SYNAPSE) {
                const T total = into_i[w] + d.drive;
                if constexpr (wanted(7))
                    sums[7][w] += total * (k == 0 ? course.i[w] : course.currents[k == 0 ? 0 : k - 1][w]);
                if constexpr (wanted(8))
                    sums[8][w] += total * x[w];
                out[w] = here.w_in[w] * total;
                into_i[w] = here.syn_decay[w] * total;
            }
        }
        write<S, W>(a.grad_x, at, packed<S, W>(out));
    }
};

extern "C" __global__ void __launch_bounds__(NS_THREADS, NS_RESIDENT) neurons_backward(const __grid_constant__ BackwardOnCuda given) {
    const BackwardArgs &a = given.args;
    const int64_t n = (static_cast<int64_t>(blockIdx.x) * NS_THREADS + threadIdx.x) * W, units = a.run.units, steps = a.run.steps;
    if (n >= units)
        return;
    Backward work(a, n);
    Course course;
    if constexpr (NS_WHOLE) {
        work.record(course, work.start(), 0, STEPS);
        work.walk_back(course, 0, STEPS);
    } else {
        constexpr int STATES = SYNAPSE ? 2 : 1;
        const int64_t chunks = (steps + STEPS - 1) / STEPS;
        State state = work.start();
        T *checkpoint = static_cast<T *>(given.checkpoints) + n;
        for (int64_t chunk = 0; chunk + 1 < chunks; ++chunk) {
            work.skip(state, chunk * STEPS, STEPS);
            write_row(checkpoint, chunk * STATES * units, state.v);
            if constexpr (SYNAPSE)
                write_row(checkpoint, (chunk * STATES + 1) * units, state.i);
        }
        for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
            if (chunk + 1 < chunks) {
                state = work.start();
                if (chunk > 0) {
#pragma unroll
                    for (int w = 0; w < W; ++w) {
                        state.v[w] = checkpoint[(chunk - 1) * STATES * units + w];
                        if constexpr (SYNAPSE)
                            state.i[w] = checkpoint[((chunk - 1) * STATES + 1) * units + w];
                    }
                }
            }
            const int64_t left = steps - chunk * STEPS;
            const int count = left < STEPS ? static_cast<int>(left) : STEPS;
            work.record(course, state, chunk * STEPS, count);
            work.walk_back(course, chunk * STEPS, count);
        }
    }
    work.finish();
}
