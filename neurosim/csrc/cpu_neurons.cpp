// Neurons over whole sequences. Blocks of neurons go through time one after the other, so that their state stays in the first cache;
// backward, the course of the membrane is computed anew into the second cache instead of being kept since the forward run.
#include "cpu_neurons_back.h"
#include "parallel.h"

#include <atomic>
#include <type_traits>

using namespace NEUROSIM_SET;

namespace {

constexpr int64_t FORWARD_ROWS = 4;

template <bool SAME, class T> bool forward_blocks(const ForwardArgs &a, const Partition &cut, int64_t from, int64_t to) {
    const Run &run = a.run;
    Scratch<T> scratch(Layer<SAME, T>::ROWS + Feed<T>::ROWS + FORWARD_ROWS, cut.width);
    if (!scratch.ok())
        return false;
    const Layer<SAME, T> layer(run, scratch);
    const Feed<T> feed(run, scratch);
    T *const out_row = scratch.rows(1), *const rest = scratch.row_of(0), *const v_row = scratch.rows(1), *const i_row = scratch.rows(1);
    const Stepper<T> step = stepper<SAME, T>(run.reset, run.strict, true);
    for (int64_t block = from; block < to; ++block) {
        const int64_t first = cut.first(block), n = cut.count(block);
        layer.fill(first, n);
        T *const v_after = static_cast<T *>(a.v_after) + first, *const i_after = static_cast<T *>(a.i_after) + first;
        const T *v = run.v ? static_cast<const T *>(run.v) + first : rest, *i = run.i ? static_cast<const T *>(run.i) + first : rest;
        for (int64_t t = 0; t < run.steps; ++t) {
            const bool last = t + 1 == run.steps;
            const int64_t at = t * run.units + first;
            const T *drive = feed.input(t, first, n);
            if (run.synapse) {
                T *next = last ? i_after : i_row;
                synapse_row<SAME>(n, layer.syn_decay, layer.w_in, drive, i, next);
                drive = i = next;
            }
            T *next = last ? v_after : v_row, *spikes = a.spikes ? row_out(a.spikes, at, run.storage, out_row) : out_row;
            step({n, layer.p, v, drive, SAME ? rest : feed.membrane(t, first, n), next, spikes, run.strict != 0});
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

template <bool SAME, class T> bool backward_blocks(const BackwardArgs &a, const Partition &cut, int64_t from, int64_t to) {
    const Needs needs(a);
    const Segments segments(needs, a.run.steps, cut.width, sizeof(T));
    Backward<SAME, T> work(a, needs, segments, cut.width);
    if (!work.ok())
        return false;
    for (int64_t block = from; block < to; ++block)
        work.block(cut.first(block), cut.count(block));
    return true;
}

// Blocks in tasks of several, each with one scratch; a few tasks for each thread, so that a slow one does not keep the others waiting.
template <class Body> int32_t shared_out(const Partition &cut, Body &&body) {
    const int64_t most = cut.threads == 1 ? 1 : cut.threads * 4, tasks = cut.blocks < most ? cut.blocks : most;
    std::atomic<bool> done{true};
    parallel_tasks(tasks, cut.threads, [&](int64_t task) {
        if (!body(cut.blocks * task / tasks, cut.blocks * (task + 1) / tasks))
            done = false;
    });
    return done ? 0 : 1;
}

template <class T> int32_t forward(const ForwardArgs &a) {
    const Partition cut(a.run, std::is_same_v<T, float>, 0);
    return shared_out(cut, [&](int64_t from, int64_t to) {
        if constexpr (std::is_same_v<T, float>)
            if (cut.same)
                return forward_blocks<true, T>(a, cut, from, to);
        return forward_blocks<false, T>(a, cut, from, to);
    });
}

template <class T> int32_t backward(const BackwardArgs &a) {
    const Partition cut(a.run, std::is_same_v<T, float> && a.needs == 0, 0);
    return shared_out(cut, [&](int64_t from, int64_t to) {
        if constexpr (std::is_same_v<T, float>)
            if (cut.same)
                return backward_blocks<true, T>(a, cut, from, to);
        return backward_blocks<false, T>(a, cut, from, to);
    });
}

} // namespace

// Both return 1 if there is no memory for the scratch.
NS_ENTRY(neurons_forward)(const ForwardArgs *a) { return a->run.storage == FLOAT64 ? forward<double>(*a) : forward<float>(*a); }

NS_ENTRY(neurons_backward)(const BackwardArgs *a) { return a->run.storage == FLOAT64 ? backward<double>(*a) : backward<float>(*a); }
