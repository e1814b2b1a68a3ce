// Neurons over whole sequences. Blocks of neurons go through time one after the other, so that their state stays in the first cache;
// backward, the course of the membrane is computed anew into the second cache instead of being kept since the forward run.
#include "cpu_neurons_back.h"
#include "parallel.h"

#include <atomic>

using namespace NEUROSIM_SET;

namespace {

constexpr int64_t WIDTH = 512;               // a forward block: parameters, state and rows fit the first cache
constexpr int64_t COURSE_BYTES = 256 * 1024; // a backward block: its course fits the second

template <class T> bool forward_task(const ForwardArgs &a, const Partition &cut, int64_t task) {
    const Run &run = a.run;
    Scratch<T> scratch(PARAMETERS + 7, cut.width);
    if (!scratch.ok())
        return false;
    Layer<T> layer(run, scratch);
    const Feed<T> feed(run, scratch);
    T *const out_row = scratch.rows(1);
    T *const rest = scratch.row_of(0), *const v_row = scratch.rows(1), *const i_row = scratch.rows(1);
    const Stepper<T> step = stepper<T>(static_cast<int>(run.reset), run.strict, true);
    for (int64_t block = cut.first_block(task); block < cut.first_block(task + 1); ++block) {
        const int64_t first = block * cut.width, n = run.units - first < cut.width ? run.units - first : cut.width;
        layer.fill(first, n);
        T *const v_after = static_cast<T *>(a.v_after) + first, *const i_after = static_cast<T *>(a.i_after) + first;
        const T *v = run.v ? static_cast<const T *>(run.v) + first : rest, *i = run.i ? static_cast<const T *>(run.i) + first : rest;
        for (int64_t t = 0; t < run.steps; ++t) {
            const bool last = t + 1 == run.steps;
            const int64_t at = t * run.units + first;
            const T *drive = feed.input(t, first, n);
            if (run.synapse) {
                T *next = last ? i_after : i_row;
                synapse_row(n, layer.syn_decay, layer.w_in, drive, i, next);
                drive = i = next;
            }
            T *next = last ? v_after : v_row, *spikes = a.spikes ? row_out(a.spikes, at, run.storage, out_row) : out_row;
            step({n, layer.p, v, drive, feed.membrane(t, first, n), next, spikes});
            v = next;
            if (a.spikes)
                row_done(a.spikes, at, run.storage, spikes, n);
            if (a.record)
                row_copied(a.record, at, run.storage, v, n);
        }
        if (run.steps == 0) {
            memcpy(v_after, v, n * sizeof(T));
            if (run.synapse)
                memcpy(i_after, i, n * sizeof(T));
        }
    }
    return true;
}

template <class T> bool forward(const ForwardArgs &a) {
    const Partition cut(a.run.units, a.run.steps, a.run.threads, WIDTH);
    std::atomic<bool> done{true};
    parallel_tasks(cut.tasks, a.run.threads, [&](int64_t task) {
        if (!forward_task<T>(a, cut, task))
            done = false;
    });
    return done;
}

template <class T> bool backward(const BackwardArgs &a) {
    const Needs needs(a);
    const int64_t course = needs.rows * a.run.steps * static_cast<int64_t>(sizeof(T));
    const Partition cut(a.run.units, a.run.steps, a.run.threads, course * WIDTH <= COURSE_BYTES ? WIDTH : COURSE_BYTES / course);
    std::atomic<bool> done{true};
    parallel_tasks(cut.tasks, a.run.threads, [&](int64_t task) {
        Backward<T> work(a, needs, cut.width);
        if (!work.ok()) {
            done = false;
            return;
        }
        for (int64_t block = cut.first_block(task); block < cut.first_block(task + 1); ++block)
            work.block(block * cut.width);
    });
    return done;
}

} // namespace

// Both return 1 if there is no memory for the scratch.
NS_ENTRY(neurons_forward)(const ForwardArgs *a) { return !(a->run.storage == FLOAT64 ? forward<double>(*a) : forward<float>(*a)); }

NS_ENTRY(neurons_backward)(const BackwardArgs *a) { return !(a->run.storage == FLOAT64 ? backward<double>(*a) : backward<float>(*a)); }
