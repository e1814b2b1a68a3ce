// The derivatives of neurosim::quantize on the CPU: every block is computed again, then its gradient goes back through the steps.
#pragma once

#include "cpu_quantize_rows.h"
#include "parallel.h"

namespace NEUROSIM_SET {

template <int GROWTH, class T> inline void error_slope_row(T *g, T *to_scale, const T *x, const T *noise, const T *scale, int64_t n) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        g[j] = error_slope<GROWTH>(g[j], x[j], noise[j], scale[j], to_scale[j]);
}

template <int GRAD, class T>
inline void level_slope_row(T *g, T *to_low, T *to_high, const LevelRows<T> &a, const GridRows<T> &rows, T steps, int64_t n) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        g[j] = level_slope<GRAD>(g[j], a.x2[j], a.v[j], a.k[j], steps, rows[j], to_low[j], to_high[j]);
}

// Sum of a row in the same order on every instruction set; the row is padded with zeros to a multiple of 8.
template <class T> inline double sum_of(const T *row, int64_t n) {
    double lane[8] = {};
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int i = 0; i < 8; ++i)
            lane[i] += static_cast<double>(row[j + i]);
    for (int i = 0; j < n; ++j, ++i)
        lane[i] += static_cast<double>(row[j]);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

// Adds a row to the sums of its channels, or to the first sum.
template <class T> inline void add_to(double *sums, const T *row, const QuantizeFields &f, bool along, int64_t at, int64_t n) {
    if (!along) {
        sums[0] += sum_of(row, n);
        return;
    }
    int64_t which = at / f.inner % f.channels, left = f.inner - at % f.inner;
    for (int64_t j = 0; j < n;) {
        const int64_t room = n - j;
        if (f.inner == 1) {
            const int64_t run = f.channels - which < room ? f.channels - which : room;
            for (int64_t i = 0; i < run; ++i)
                sums[which + i] += static_cast<double>(row[j + i]);
            j += run;
            which = 0;
        } else {
            const int64_t run = left < room ? left : room;
            sums[which] += sum_of(row + j, run);
            j += run;
            left = f.inner;
            which = which + 1 == f.channels ? 0 : which + 1;
        }
    }
}

// One thread's rows.
template <class T> struct Workspace {
    T in[BLOCK], g[BLOCK], start[BLOCK], x1[BLOCK], x2[BLOCK], x3[BLOCK], noise[2][BLOCK], u[BLOCK], part[GRADIENTS][BLOCK];
    LevelRows<T> level;
    Row<T> low, high, scale[2];
    GridRows<T> grid;
};

template <class T> struct Backward {
    const BackwardFields &f;
    const QuantizeFields &c;
    const Setting<T> s;
    bool levels, shifted, need_noise[2];
    T limit_low, limit_high;

    explicit Backward(const BackwardFields &fields) : f(fields), c(fields.common), s(fields.common) {
        constexpr T infinite = std::numeric_limits<T>::infinity();
        levels = s.plan.fixed || s.plan.learned;
        shifted = s.plan.learned || c.numbers.shift != 0;
        need_noise[BEFORE] = s.plan.before.kind != NO_NOISE;
        need_noise[AFTER] = has_slope(AFTER) && (s.plan.after.growth != ADDITIVE || wants(AFTER_SCALE));
        limit_low = s.limit_numbers() ? static_cast<T>(c.numbers.limit_low) : -infinite;
        limit_high = s.limit_numbers() ? static_cast<T>(c.numbers.limit_high) : infinite;
    }

    bool wants(int operand) const { return c.operands[operand] && (f.needs >> (operand + 1) & 1); }
    bool has_slope(int which) const { return s.error(which).kind != NO_NOISE && !s.error(which).straight; }

    void start(Workspace<T> &w) const {
        w.low.start(c.operands[LIMIT_LOW], c.numbers.limit_low, s.along(LIMIT_LOW));
        w.high.start(c.operands[LIMIT_HIGH], c.numbers.limit_high, s.along(LIMIT_HIGH));
        w.scale[BEFORE].start(c.operands[BEFORE_SCALE], c.numbers.before_scale, s.along(BEFORE_SCALE));
        w.scale[AFTER].start(c.operands[AFTER_SCALE], c.numbers.after_scale, s.along(AFTER_SCALE));
        w.grid.start(s);
    }

    // Everything that the forward pass had in this block.
    void again(Workspace<T> &w, const T *noise, int64_t at, int64_t n) const {
        const size_t bytes = static_cast<size_t>(n) * sizeof(T);
        if (noise)
            error_row(s.plan.before.growth, w.x1, w.start, noise, w.scale[BEFORE].value, n);
        else
            memcpy(w.x1, w.start, bytes);
        if (s.limit_tensors())
            limit_row(w.x2, w.x1, w.low.value, w.high.value, n);
        else
            memcpy(w.x2, w.x1, bytes);
        if (s.plan.rounding == STOCHASTIC)
            fill_uniform(w.u, s.source[1], at, n);
        if (levels)
            w.level.run(w.x3, w.x2, w.u, w.grid, s, limit_low, limit_high, shifted, n);
        else
            for (int64_t j = 0; j < n; ++j)
                w.x3[j] = between(w.x2[j], limit_low, limit_high);
    }

    void back_error(Workspace<T> &w, int which, const T *x, const T *noise, int64_t n) const {
        const int growth = s.error(which).growth;
        T *part = w.part[which == BEFORE ? BEFORE_SCALE : AFTER_SCALE];
        if (!has_slope(which) || !noise)
            return;
        if (growth == ADDITIVE)
            error_slope_row<ADDITIVE>(w.g, part, x, noise, w.scale[which].value, n);
        else if (growth == PROPORTIONAL)
            error_slope_row<PROPORTIONAL>(w.g, part, x, noise, w.scale[which].value, n);
        else
            error_slope_row<SHOT>(w.g, part, x, noise, w.scale[which].value, n);
    }

    void back_levels(Workspace<T> &w, int64_t n) const {
        T *low = w.part[LEVEL_LOW], *high = w.part[LEVEL_HIGH];
        const T steps = static_cast<T>(c.levels - 1);
        if (s.plan.grad == TRUE_DERIVATIVE)
            level_slope_row<TRUE_DERIVATIVE>(w.g, low, high, w.level, w.grid, steps, n);
        else if (s.plan.grad == STRAIGHT_MASKED)
            level_slope_row<STRAIGHT_MASKED>(w.g, low, high, w.level, w.grid, steps, n);
        else if (s.plan.grad == LEARNED_STEP)
            level_slope_row<LEARNED_STEP>(w.g, low, high, w.level, w.grid, steps, n);
    }

    void back_limits(Workspace<T> &w, int64_t n) const {
        if (!s.plan.limits || s.plan.limits_straight)
            return;
        T *g = w.g, *to_low = w.part[LIMIT_LOW], *to_high = w.part[LIMIT_HIGH];
        const T *x1 = w.x1, *low = w.low.value, *high = w.high.value;
        constexpr T infinite = std::numeric_limits<T>::infinity();
        if (!s.limit_tensors()) {
            NS_INDEPENDENT
            for (int64_t j = 0; j < n; ++j)
                g[j] = limit_slope(g[j], x1[j], limit_low, limit_high);
            return;
        }
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j) {
            const T raised = between_tensors(x1[j], low[j], infinite);
            g[j] = bound_slope<true>(bound_slope<false>(g[j], raised, high[j], to_high[j]), x1[j], low[j], to_low[j]);
        }
    }

    void block(Workspace<T> &w, double *sums, int64_t at, int64_t n) const {
        const int storage = static_cast<int>(c.storage);
        const size_t bytes = static_cast<size_t>(n) * sizeof(T);
        memcpy(w.start, row_in(c.x, at, storage, w.in, n), bytes);
        memcpy(w.g, row_in(f.grad, at, storage, w.in, n), bytes);
        for (Row<T> *row : {&w.low, &w.high, &w.scale[BEFORE], &w.scale[AFTER]})
            row->move(c, at, n);
        w.grid.move(c, at, n);
        const T *noise[2];
        for (int which : {BEFORE, AFTER})
            noise[which] = need_noise[which] ? noise_row(w.noise[which], s, which, at, n) : nullptr;
        again(w, noise[BEFORE], at, n);
        back_error(w, AFTER, w.x3, noise[AFTER], n);
        if (levels)
            back_levels(w, n);
        back_limits(w, n);
        back_error(w, BEFORE, w.start, noise[BEFORE], n);
        if (f.grad_x) {
            T *out = row_out(f.grad_x, at, storage, w.in);
            memcpy(out, w.g, bytes);
            row_done(f.grad_x, at, storage, out, n);
        }
        for (int operand = 0; operand < GRADIENTS; ++operand)
            if (wants(operand) && has_part(operand))
                add_to(sums + operand * f.columns, w.part[operand], c, s.along(operand), at, n);
    }

    // Whether the gradient rules give that operand anything.
    bool has_part(int operand) const {
        if (operand == LIMIT_LOW || operand == LIMIT_HIGH)
            return s.limit_tensors() && !s.plan.limits_straight;
        if (operand == LEVEL_LOW || operand == LEVEL_HIGH)
            return s.plan.learned && s.plan.grad != STRAIGHT;
        return has_slope(operand == BEFORE_SCALE ? BEFORE : AFTER);
    }
};

// The numbers are cut into pieces by their count alone, and the sums of the pieces are added in order: the same for any number of threads.
template <class T> inline int32_t backward(const BackwardFields &f) {
    const Backward<T> b(f);
    const int64_t n = f.common.n, most = f.columns > 256 ? 16 : 64, width = GRADIENTS * f.columns;
    const int64_t share = (n + most - 1) / most, piece = (share + BLOCK - 1) / BLOCK * BLOCK, size = piece < 8 * BLOCK ? 8 * BLOCK : piece;
    const int64_t pieces = (n + size - 1) / size;
    double *sums = static_cast<double *>(calloc(static_cast<size_t>(pieces * width + 1), sizeof(double)));
    if (b.s.failed() || !sums) {
        free(sums);
        return 1;
    }
    parallel_tasks(pieces, b.s.threads(), [&](int64_t index) {
        Workspace<T> w;
        b.start(w);
        const int64_t end = (index + 1) * size < n ? (index + 1) * size : n;
        for (int64_t at = index * size; at < end; at += BLOCK)
            b.block(w, sums + index * width, at, end - at < BLOCK ? end - at : BLOCK);
    });
    T *out = static_cast<T *>(f.sums);
    for (int64_t i = 0; i < width; ++i) {
        double total = 0;
        for (int64_t index = 0; index < pieces; ++index)
            total += sums[index * width + i];
        out[i] = static_cast<T>(total);
    }
    free(sums);
    return 0;
}

} // namespace NEUROSIM_SET
