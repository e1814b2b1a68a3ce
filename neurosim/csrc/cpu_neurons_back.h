// The way back of a block of neurons. Time is cut into segments: the course of a segment is computed anew, then walked backward. The state at
// the beginning of each segment comes from a first run through all of them.
#pragma once

#include "cpu_neurons_block.h"

namespace NEUROSIM_SET {

constexpr int64_t COURSE_BYTES = 256 * 1024; // the course of a segment fits the second cache
constexpr int64_t SEGMENT = 32;              // steps, at least: states at their beginnings take 1/32 of the input's memory

// What of the course is needed.
struct Needs {
    bool sums, slope, slope_before, fired, fired_before, drive, membranes, currents, course;
    int64_t rows; // for each step

    explicit Needs(const BackwardArgs &a) {
        const int reset = static_cast<int>(a.run.reset);
        const bool looking_back = looks_back(reset), now = resets_now(reset);
        sums = a.needs != 0;
        slope = a.grad_spikes || (a.run.attached && now);
        slope_before = a.run.attached && looking_back && reset != RESET_SOFT_BOTH;
        fired = reset == RESET_HARD || (sums && now);
        fired_before = reset == RESET_HARD_NEXT || reset == RESET_HARD_NEXT_ERASING || (sums && looking_back);
        drive = sums || (slope_before && reset == RESET_HARD_NEXT_ERASING);
        membranes = sums && now;
        currents = a.run.synapse && drive;
        course = slope || slope_before || fired || fired_before || sums;
        rows = course ? 1 + membranes + currents : 0;
    }
};

// How a run is cut in time.
struct Segments {
    int64_t length, count;

    Segments(const Needs &needs, int64_t steps, int64_t width, int64_t bytes) {
        const int64_t fit = needs.course ? COURSE_BYTES / (needs.rows * width * bytes) : steps;
        length = fit < SEGMENT ? SEGMENT : fit;
        length = length < steps ? length : steps;
        count = length ? (steps + length - 1) / length : 0;
    }
};

template <bool SAME, class T> class Backward {
  public:
    Backward(const BackwardArgs &args, const Needs &known, const Segments &cut, int64_t block_width)
        : a(args), run(args.run), needs(known), segments(cut), width(block_width),
          scratch(ROWS + known.rows * cut.length + (cut.count + 1) * (1 + args.run.synapse), block_width) {}

    bool ok() const { return scratch.ok(); }

    void block(int64_t from, int64_t count) {
        first = from;
        n = count;
        layer.fill(first, n);
        begin_sums();
        start(v_starts, run.v);
        start(i_starts, run.synapse ? run.i : nullptr);
        start(into_v, a.grad_v);
        start(into_i, a.grad_i);
        for (int64_t k = 0; needs.course && k + 1 < segments.count; ++k)
            pass(k);
        for (int64_t k = segments.count - 1; k >= 0; --k) {
            if (needs.course)
                forward(k);
            backward(k);
        }
        if (a.grad_v_before)
            memcpy(static_cast<T *>(a.grad_v_before) + first, into_v, n * sizeof(T));
        if (a.grad_i_before)
            memcpy(static_cast<T *>(a.grad_i_before) + first, into_i, n * sizeof(T));
        if (run.follows && a.needs >> 1 & 1)
            add_row(n, sums.reset_by, sums.threshold);
    }

  private:
    static constexpr int64_t UNNEEDED = PARAMETERS, ROWS = Layer<SAME, T>::ROWS + Feed<T>::ROWS + UNNEEDED + 17;

    const BackwardArgs &a;
    const Run &run;
    const Needs &needs;
    const Segments &segments;
    const int64_t width;
    Scratch<T> scratch;
    const Layer<SAME, T> layer{run, scratch};
    const Feed<T> feed{run, scratch};
    T *const zero = scratch.row_of(0);
    T *const out_row = scratch.rows(1), *const spikes_row = scratch.rows(1), *const record_row = scratch.rows(1);
    T *const v_row = scratch.rows(1), *const i_row = scratch.rows(1), *const h_row = scratch.rows(1), *const into_drive = scratch.rows(1);
    T *const fired = scratch.rows(1), *const fired_before = scratch.rows(1);
    T *const into_v = scratch.rows(1), *const into_i = scratch.rows(1), *const unneeded = scratch.rows(UNNEEDED);
    T *slope = scratch.rows(1), *slope_before = scratch.rows(1);
    T *const v_starts = scratch.rows(segments.count + 1), *const i_starts = scratch.rows(run.synapse ? segments.count + 1 : 1);
    T *const h = scratch.rows(needs.course ? segments.length : 0);
    T *const membranes = scratch.rows(needs.membranes ? segments.length : 0);
    T *const currents = scratch.rows(needs.currents ? segments.length : 0);
    const Stepper<T> step = stepper<SAME, T>(run.reset, run.strict, false);
    const Backer<T> step_back = backer<SAME, !SAME, T>(run.reset, run.attached);
    const Sloper<T> slopes = sloper<SAME, T>(a.code);
    const Shape<T> shape = shape_of<T>(static_cast<int>(a.code), a.first, a.second);
    Neurons<T> sums{};
    T *sum_syn_decay = nullptr, *sum_w_in = nullptr;
    int64_t first = 0, n = 0;

    // One step forward from v and i, which become the state after it; the drive of the membrane is returned.
    const T *advance(int64_t t, const T *&v, const T *&i, T *v_next, T *i_next, T *h_out) const {
        const T *drive = feed.input(t, first, n);
        if (run.synapse) {
            synapse_row<SAME>(n, layer.syn_decay, layer.w_in, drive, i, i_next);
            drive = i = i_next;
        }
        step({n, layer.p, v, drive, SAME ? zero : feed.membrane(t, first, n), v_next, h_out, run.strict != 0});
        v = v_next;
        return drive;
    }

    // Through segment k, to the state at the beginning of the next.
    void pass(int64_t k) const {
        const T *v = v_starts + k * width, *i = i_starts + k * width;
        T *const v_next = v_starts + (k + 1) * width, *const i_next = i_starts + (k + 1) * width;
        for (int64_t t = begin(k); t < end(k); ++t)
            advance(t, v, i, v_next, i_next, h_row);
    }

    void forward(int64_t k) const {
        const T *v = v_starts + k * width, *i = i_starts + k * width;
        for (int64_t t = begin(k); t < end(k); ++t) {
            const int64_t row = (t - begin(k)) * width;
            advance(t, v, i, needs.membranes ? membranes + row : v_row, needs.currents ? currents + row : i_row, h + row);
        }
    }

    void backward(int64_t k) {
        if (needs.slope_before)
            slopes(n, layer.p, h + (end(k) - 1 - begin(k)) * width, shape, slope);
        for (int64_t t = end(k) - 1; t >= begin(k); --t) {
            const int64_t at = t * run.units + first;
            T *grad_x = row_out(a.grad_x, at, run.storage, out_row);
            back_through_membrane(t, k, run.synapse ? into_drive : grad_x);
            if (run.synapse)
                back_through_synapse(t, k, grad_x);
            row_done(a.grad_x, at, run.storage, grad_x, n);
        }
    }

    void back_through_membrane(int64_t t, int64_t k, T *into) {
        const int64_t row = (t - begin(k)) * width;
        const T *h_now = needs.course ? h + row : zero, *v = needs.course ? v_before(t, k) : zero;
        if (a.grad_record)
            add_row(n, row_in(a.grad_record, t * a.record_row + first, run.storage, record_row, n), into_v);
        if (needs.slope_before)
            slopes(n, layer.p, v, shape, slope_before);
        else if (needs.slope)
            slopes(n, layer.p, h_now, shape, slope);
        if (needs.fired)
            fires_row<SAME>(n, layer.p, h_now, run.strict, fired);
        if (needs.fired_before)
            fires_row<SAME>(n, layer.p, v, run.strict, fired_before);
        const T *spikes = a.grad_spikes ? row_in(a.grad_spikes, t * a.spikes_row + first, run.storage, spikes_row, n) : zero;
        const T *drive = !needs.drive ? zero : run.synapse ? currents + row : feed.input(t, first, n);
        step_back({n, layer.p, spikes, needs.slope ? slope : zero, needs.slope_before ? slope_before : zero, h_now, v,
                   needs.fired ? fired : zero, needs.fired_before ? fired_before : zero, drive, into_v, into, sums});
        if (needs.slope_before) { // the slope of h one step before
            T *done = slope;
            slope = slope_before;
            slope_before = done;
        }
    }

    void back_through_synapse(int64_t t, int64_t k, T *grad_x) const {
        add_row(n, into_drive, into_i);
        if (needs.sums) {
            add_product_row(n, into_i, before(t, k, i_starts, currents), sum_syn_decay);
            add_product_row(n, into_i, feed.input(t, first, n), sum_w_in);
        }
        synapse_back_row<SAME>(n, layer.syn_decay, layer.w_in, into_i, grad_x);
    }

    int64_t begin(int64_t k) const { return k * segments.length; }
    int64_t end(int64_t k) const { return k + 1 < segments.count ? begin(k + 1) : run.steps; }

    // A state before step t of segment k.
    const T *before(int64_t t, int64_t k, const T *starts, const T *course) const {
        return t == begin(k) ? starts + k * width : course + (t - 1 - begin(k)) * width;
    }
    // The membrane, where the course has it; without a reset at once it is h.
    const T *v_before(int64_t t, int64_t k) const { return before(t, k, v_starts, needs.membranes ? membranes : h); }

    void start(T *row, const void *from) const { memcpy(row, from ? static_cast<const T *>(from) + first : zero, n * sizeof(T)); }

    // Sums that nobody needs go into rows of the scratch.
    void begin_sums() {
        T *next = static_cast<T *>(a.sums) + first, *own = unneeded;
        T **const places[] = {&sums.decay,   &sums.threshold, &sums.reset_by,  &sums.gain,    &sums.bias,
                              &sums.v_reset, &sums.sign,      &sum_syn_decay, &sum_w_in};
        for (int64_t bit = 0; !SAME && bit < PARAMETERS; ++bit) {
            const bool needed = a.needs >> bit & 1;
            *places[bit] = needed ? next : own;
            memset(*places[bit], 0, n * sizeof(T));
            needed ? next += run.units : own += width;
        }
    }
};

} // namespace NEUROSIM_SET
