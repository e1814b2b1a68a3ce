// The way back of a block of neurons: their course is computed anew, then walked backward in time.
#pragma once

#include "cpu_neurons_block.h"

namespace NEUROSIM_SET {

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

constexpr int64_t BACKWARD_ROWS = 25; // of scratch, beside the parameters and the course

template <class T> class Backward {
  public:
    Backward(const BackwardArgs &args, const Needs &known, int64_t block_width)
        : a(args), run(args.run), needs(known), width(block_width),
          scratch(PARAMETERS + BACKWARD_ROWS + known.rows * args.run.steps, block_width) {}

    bool ok() const { return scratch.ok(); }

    void block(int64_t from) {
        first = from;
        n = run.units - first < width ? run.units - first : width;
        layer.fill(first, n);
        v_start = run.v ? static_cast<const T *>(run.v) + first : zero;
        i_start = run.i ? static_cast<const T *>(run.i) + first : zero;
        begin_sums();
        if (needs.course)
            forward();
        backward();
        end_sums();
    }

  private:
    const BackwardArgs &a;
    const Run &run;
    const Needs &needs;
    const int64_t width;
    Scratch<T> scratch;
    Layer<T> layer{run, scratch};
    T *const zero = scratch.row_of(0);
    const Feed<T> feed{run, scratch};
    T *const out_row = scratch.rows(1), *const spikes_row = scratch.rows(1);
    T *const record_row = scratch.rows(1), *const v_row = scratch.rows(1), *const i_row = scratch.rows(1);
    T *const fired = scratch.rows(1), *const fired_before = scratch.rows(1), *const into_drive = scratch.rows(1);
    T *const into_v = scratch.rows(1), *const into_i = scratch.rows(1), *const unneeded = scratch.rows(8);
    T *slope = scratch.rows(1), *slope_before = scratch.rows(1);
    T *const h = scratch.rows(needs.course ? run.steps : 0);
    T *const membranes = scratch.rows(needs.membranes ? run.steps : 0), *const currents = scratch.rows(needs.currents ? run.steps : 0);
    const Stepper<T> step = stepper<T>(static_cast<int>(run.reset), run.strict, false);
    const Backer<T> step_back = backer<T>(static_cast<int>(run.reset), run.attached, needs.sums);
    const Sloper<T> slopes = sloper<T>(static_cast<int>(a.code));
    const Shape<T> shape = shape_of<T>(static_cast<int>(a.code), a.first, a.second);
    Neurons<T> sums{};
    T *sum_syn_decay = nullptr, *sum_w_in = nullptr;
    const T *v_start = nullptr, *i_start = nullptr;
    int64_t first = 0, n = 0;

    // The membrane before a step, where the course has it; without resets now it is h.
    const T *v_before(int64_t t) const { return t == 0 ? v_start : (needs.membranes ? membranes : h) + (t - 1) * width; }

    void forward() const {
        const T *v = v_start, *i = i_start;
        for (int64_t t = 0; t < run.steps; ++t) {
            const T *drive = feed.input(t, first, n);
            if (run.synapse) {
                T *next = needs.currents ? currents + t * width : i_row;
                synapse_row(n, layer.syn_decay, layer.w_in, drive, i, next);
                drive = i = next;
            }
            T *next = needs.membranes ? membranes + t * width : v_row;
            step({n, layer.p, v, drive, feed.membrane(t, first, n), next, h + t * width});
            v = next;
        }
    }

    void backward() {
        start(into_v, a.grad_v);
        start(into_i, a.grad_i);
        if (needs.slope_before && run.steps)
            slopes(n, layer.p, h + (run.steps - 1) * width, shape, slope);
        for (int64_t t = run.steps - 1; t >= 0; --t) {
            const int64_t at = t * run.units + first;
            T *grad_x = row_out(a.grad_x, at, run.storage, out_row);
            back_through_membrane(t, run.synapse ? into_drive : grad_x);
            if (run.synapse)
                back_through_synapse(t, grad_x);
            row_done(a.grad_x, at, run.storage, grad_x, n);
        }
        memcpy(static_cast<T *>(a.grad_v_before) + first, into_v, n * sizeof(T));
        if (run.synapse)
            memcpy(static_cast<T *>(a.grad_i_before) + first, into_i, n * sizeof(T));
    }

    void back_through_membrane(int64_t t, T *into) {
        const T *h_row = needs.course ? h + t * width : zero, *v = needs.course ? v_before(t) : zero;
        if (a.grad_record)
            add_row(n, row_in(a.grad_record, t * a.record_row + first, run.storage, record_row, n), into_v);
        if (needs.slope_before)
            slopes(n, layer.p, v, shape, slope_before);
        else if (needs.slope)
            slopes(n, layer.p, h_row, shape, slope);
        if (needs.fired)
            fires_row(n, layer.p, h_row, run.strict, fired);
        if (needs.fired_before)
            fires_row(n, layer.p, v, run.strict, fired_before);
        const T *spikes = a.grad_spikes ? row_in(a.grad_spikes, t * a.spikes_row + first, run.storage, spikes_row, n) : zero;
        const T *drive = !needs.drive ? zero : run.synapse ? currents + t * width : feed.input(t, first, n);
        step_back({n, layer.p, spikes, needs.slope ? slope : zero, slope_before, h_row, v, fired, fired_before, drive, into_v, into, sums});
        if (needs.slope_before) { // the slope of h one step before
            T *done = slope;
            slope = slope_before;
            slope_before = done;
        }
    }

    void back_through_synapse(int64_t t, T *grad_x) const {
        add_row(n, into_drive, into_i);
        if (needs.sums) {
            add_product_row(n, into_i, t == 0 ? i_start : currents + (t - 1) * width, sum_syn_decay);
            add_product_row(n, into_i, feed.input(t, first, n), sum_w_in);
        }
        product_row(n, layer.w_in, into_i, grad_x);
        product_row(n, layer.syn_decay, into_i, into_i);
    }

    void start(T *row, const void *grad) const { memcpy(row, grad ? static_cast<const T *>(grad) + first : zero, n * sizeof(T)); }

    // Sums that nobody needs go into rows of the scratch.
    void begin_sums() {
        if (!needs.sums)
            return;
        T *next = static_cast<T *>(a.sums) + first, *own = unneeded;
        T **const places[] = {&sums.decay,   &sums.threshold, &sums.reset_by,  &sums.gain,    &sums.bias,
                              &sums.v_reset, &sums.sign,      &sum_syn_decay, &sum_w_in};
        for (int64_t bit = 0; bit < PARAMETERS; ++bit) {
            const bool needed = a.needs >> bit & 1;
            *places[bit] = needed ? next : own;
            memset(*places[bit], 0, n * sizeof(T));
            needed ? next += run.units : own += width;
        }
    }

    void end_sums() const {
        if (run.follows && a.needs >> 1 & 1)
            add_row(n, sums.reset_by, sums.threshold);
    }
};

} // namespace NEUROSIM_SET
