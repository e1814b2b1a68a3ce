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

constexpr int STEPS = NS_STEPS, GROUPS = (NS_STEPS + NS_AHEAD - 1) / NS_AHEAD;
constexpr bool ATTACHED = NS_ATTACHED, FROM_SPIKES = (NS_GRADS & 1) != 0, FROM_RECORD = (NS_GRADS & 2) != 0;
constexpr bool SLOPE = FROM_SPIKES || (ATTACHED && resets_now(RESET));
constexpr bool SLOPE_BEFORE = ATTACHED && looks_back(RESET) && RESET != RESET_SOFT_BOTH;
NS_DEVICE constexpr bool wanted(int k) { return (NS_NEEDS >> k & 1) != 0; }
constexpr bool DRIVE = wanted(3) || (SLOPE_BEFORE && RESET == RESET_HARD_NEXT_ERASING);
constexpr bool INPUT = (DRIVE && !SYNAPSE) || wanted(8);              // read once more on the way back
constexpr bool CURRENTS = SYNAPSE && (DRIVE || wanted(7)); // kept

// The compiler is to forget what it knows of a number: else it keeps all that it has derived from it, and those registers cost more than
// deriving it again. `nothing` is a zero that it does not know to be one.
NS_DEVICE T forget(T value, uint32_t nothing) {
    Pack<T, 1> pack = packed<T, 1>(&value);
    pack.at[0] ^= nothing;
    return element<T, 1>(pack, 0);
}

template <class Element> NS_DEVICE void settle(Element *&pointer) {
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+l"(pointer));
#endif
}

// A row of a sequence: it moves from step to step, and lies nowhere if it is not used.
template <bool USED, class Element> struct Walk {
    Element *at;
    int64_t stride;

    NS_METHOD Walk(Element *base, int64_t first, int64_t row) : at(USED ? base + first : nullptr), stride(row) {}
    NS_METHOD void move(int direction) {
        if constexpr (USED) {
            at += direction * stride;
            settle(at);
        }
    }
    NS_METHOD Pack<S, W> read_here() const { return USED ? read<S, W>(at, 0) : Pack<S, W>{}; }
};

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
        : a(args), here(args.run, first), shape(shape_of<T>(NS_CODE, args.first, args.second)), n(first), units(args.run.units),
          nothing(static_cast<uint32_t>(args.run.threads >> 62)) {
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
        Walk<true, const S> x_row(static_cast<const S *>(a.run.x), from * units + n, units);
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
            ahead[k] = x_row.read_here();
            x_row.move(NS_WHOLE || k + 1 < count ? 1 : 0);
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
                course.h[k][w] = forget(course.h[k][w], nothing);
                course.beyond[w] |= before[w] ? 1u << k : 0u;
                if constexpr (CURRENTS)
                    course.currents[k][w] = drive[w];
            }
        }
    }

    // Back through them.
    NS_METHOD void walk_back(const Course &course, int64_t from, int count) {
        const int64_t last = from + count - 1;
        Walk<FROM_SPIKES, const S> spikes_row(static_cast<const S *>(a.grad_spikes), last * a.spikes_row + n, a.spikes_row);
        Walk<FROM_RECORD, const S> record_row(static_cast<const S *>(a.grad_record), last * a.record_row + n, a.record_row);
        Walk<INPUT, const S> x_row(static_cast<const S *>(a.run.x), last * units + n, units);
        Walk<true, S> out_row(static_cast<S *>(a.grad_x), last * units + n, units);
        Pack<S, W> spikes[2][NS_AHEAD], record[2][NS_AHEAD], input[2][NS_AHEAD]; // of the group at hand and of the next one
#pragma unroll
        for (int group = -1; group < GROUPS; ++group) {
#pragma unroll
            for (int j = 0; j < NS_AHEAD; ++j) {
                const int k = STEPS - 1 - (group + 1) * NS_AHEAD - j, next = (group + 1) % 2;
                if (k < 0)
                    break;
                spikes[next][j] = spikes_row.read_here();
                record[next][j] = record_row.read_here();
                input[next][j] = x_row.read_here();
                const int direction = k > 0 && (NS_WHOLE || k < count) ? -1 : 0;
                spikes_row.move(direction);
                record_row.move(direction);
                x_row.move(direction);
            }
            // A condition that the compiler cannot know: else it writes everything at the very end, and keeps it in registers until then.
            const int lowest = STEPS - (group + 1) * NS_AHEAD;
            if (group < 0 || (lowest > 0 ? lowest : 0) >= count)
                continue;
#pragma unroll
            for (int j = 0; j < NS_AHEAD; ++j) {
                const int k = STEPS - 1 - group * NS_AHEAD - j;
                if (k >= 0 && (NS_WHOLE || k < count)) {
                    step_back(course, k, from + k, out_row.at, spikes[group % 2][j], record[group % 2][j], input[group % 2][j]);
                    out_row.move(-1);
                }
            }
        }
    }

    NS_METHOD void finish() {
        if (a.grad_v_before)
            write_row(a.grad_v_before, n, into_v);
        if (SYNAPSE && a.grad_i_before)
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
    const uint32_t nothing; // 0: nobody has that many threads
    T into_v[W], into_i[W], sums[PARAMETERS][W];

    // The threshold may be what the reset subtracts.
    template <int K> NS_METHOD void add(int w, T value) {
        if constexpr (wanted(K) || (K == 2 && wanted(1))) {
            sums[K][w] += value;
        }
    }

    NS_METHOD T slope(T v, const Neuron<T> &p) const { return p.sign * surrogate_gradient<NS_CODE>(p.sign * (v - p.threshold), shape); }

    NS_METHOD void step_back(const Course &course, int k, int64_t t, S *grad_x, const Pack<S, W> &spikes, const Pack<S, W> &record, const Pack<S, W> &input) {
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
            add<0>(w, d.decay);
            add<1>(w, d.threshold);
            add<2>(w, d.reset_by);
            add<3>(w, d.gain);
            add<4>(w, d.bias);
            add<5>(w, d.v_reset);
            out[w] = d.drive;
            if constexpr (SYNAPSE) {
                const T total = into_i[w] + d.drive;
                if constexpr (wanted(7))
                    add<7>(w, total * (k == 0 ? course.i[w] : course.currents[k == 0 ? 0 : k - 1][w]));
                if constexpr (wanted(8))
                    add<8>(w, total * x[w]);
                out[w] = here.w_in[w] * total;
                into_i[w] = here.syn_decay[w] * total;
            }
        }
        write<S, W>(grad_x, 0, packed<S, W>(out));
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
        work.walk_back(course, 0, static_cast<int>(steps));
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
