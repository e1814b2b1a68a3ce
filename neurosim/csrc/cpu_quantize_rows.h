// Blocks of neighbouring numbers through the steps of quantize.h: what the forward and the backward pass on the CPU share.
#pragma once

#include "quantize_fields.h"
#include "random_fill.h"
#include "storage.h"

#include <cstdlib>
#include <initializer_list>
#include <limits>

namespace NEUROSIM_SET {

constexpr int COLUMNS = 7; // numbers of a Grid
constexpr int64_t BLOCK = 512; // numbers at a time: a dozen rows of them stay in the first-level cache

enum Which : int { BEFORE, AFTER };

// Element i of the row is values[i / inner % count], from i = at on.
template <class T> inline void copy_row(T *row, const T *values, int64_t inner, int64_t count, int64_t at, int64_t n) {
    int64_t which = at / inner % count, left = inner - at % inner;
    for (int64_t j = 0; j < n;) {
        const int64_t room = n - j;
        if (inner == 1) {
            const int64_t run = count - which < room ? count - which : room;
            memcpy(row + j, values + which, static_cast<size_t>(run) * sizeof(T));
            j += run;
            which = 0;
        } else {
            const int64_t run = left < room ? left : room;
            for (int64_t i = 0; i < run; ++i)
                row[j + i] = values[which];
            j += run;
            left = inner;
            which = which + 1 == count ? 0 : which + 1;
        }
    }
}

// An operand along a block: constant, or along the channels.
template <class T> struct Row {
    T value[BLOCK];
    const T *each = nullptr;

    void start(const void *tensor, double number, bool along) {
        const T *values = static_cast<const T *>(tensor);
        each = along ? values : nullptr;
        const T constant = tensor ? values[0] : static_cast<T>(number);
        for (int64_t j = 0; j < BLOCK && !along; ++j)
            value[j] = constant;
    }

    void move(const QuantizeFields &f, int64_t at, int64_t n) {
        if (each)
            copy_row(value, each, f.inner, f.channels, at, n);
    }
};

// Everything that does not change from block to block.
template <class T> struct Setting {
    const QuantizeFields &fields;
    QuantizePlan plan;
    Source source[3]; // before, rounding, after
    Grid<T> grid;     // of levels at fixed places
    T *table = nullptr; // of learned ones: COLUMNS columns of one number per channel, or of one number

    explicit Setting(const QuantizeFields &f) : fields(f), plan(quantize_plan(f.flags)) {
        int used = 0;
        const bool needed[3] = {draws(plan.before), plan.rounding == STOCHASTIC, draws(plan.after)};
        for (int i = 0; i < 3; ++i)
            if (needed[i])
                source[i] = source_of(f.words[used++], f.counters);
        grid = {T(f.numbers.steps_per_unit), T(f.numbers.shift), T(f.numbers.unit),    T(f.numbers.low),
                T(f.numbers.high),           T(f.numbers.first), T(f.numbers.last)};
        if (plan.learned) {
            const int64_t count = columns();
            table = static_cast<T *>(malloc(static_cast<size_t>(COLUMNS * count) * sizeof(T)));
            for (int64_t i = 0; table && i < count; ++i) {
                const Grid<T> found = grid_between(bound(LEVEL_LOW, i), bound(LEVEL_HIGH, i), f.levels);
                const T numbers[COLUMNS] = {found.p, found.shift, found.unit, found.low, found.high, found.first, found.last};
                for (int column = 0; column < COLUMNS; ++column)
                    table[column * count + i] = numbers[column];
            }
        }
    }
    ~Setting() { free(table); }
    Setting(const Setting &) = delete;
    Setting &operator=(const Setting &) = delete;

    bool failed() const { return plan.learned && !table; }
    bool along(int operand) const { return (fields.each >> operand & 1) != 0; }
    bool learned_along() const { return along(LEVEL_LOW) || along(LEVEL_HIGH); }
    int64_t columns() const { return learned_along() ? fields.channels : 1; }
    T bound(int operand, int64_t channel) const { return static_cast<const T *>(fields.operands[operand])[along(operand) ? channel : 0]; }
    const ErrorPlan &error(int which) const { return which == BEFORE ? plan.before : plan.after; }
    bool limit_tensors() const { return plan.limits && (fields.operands[LIMIT_LOW] || fields.operands[LIMIT_HIGH]); }
    bool limit_numbers() const { return plan.limits && !limit_tensors(); }

    // Threads that are worth waking: each is to have a few microseconds of work.
    int64_t threads() const {
        const int numbers = draws(plan.before) + draws(plan.after) + (plan.rounding == STOCHASTIC);
        const double work = static_cast<double>(fields.n) * (0.4 + (sizeof(T) == 4 ? 1.5 : 30.0) * numbers), worth = work / 5000.0 + 1.0;
        return worth < static_cast<double>(fields.threads) ? static_cast<int64_t>(worth) : fields.threads;
    }
};

// The rows of levels between tensors.
template <class T> struct GridRows {
    Row<T> p, shift, unit, low, high, first, last;

    void start(const Setting<T> &s) {
        Row<T> *rows[COLUMNS] = {&p, &shift, &unit, &low, &high, &first, &last};
        const T fixed[COLUMNS] = {s.grid.p, s.grid.shift, s.grid.unit, s.grid.low, s.grid.high, s.grid.first, s.grid.last};
        for (int i = 0; i < COLUMNS; ++i)
            rows[i]->start(s.plan.learned ? s.table + i * s.columns() : nullptr, static_cast<double>(fixed[i]), s.learned_along());
    }
    void move(const QuantizeFields &f, int64_t at, int64_t n) {
        for (Row<T> *row : {&p, &shift, &unit, &low, &high, &first, &last})
            row->move(f, at, n);
    }
    Grid<T> operator[](int64_t j) const {
        return {p.value[j], shift.value[j], unit.value[j], low.value[j], high.value[j], first.value[j], last.value[j]};
    }
};

// The standard noise of an error for a block: drawn, or the given tensor.
template <class T> inline const T *noise_row(T *buffer, const Setting<T> &s, int which, int64_t at, int64_t n) {
    const QuantizeFields &f = s.fields;
    const ErrorPlan &error = s.error(which);
    if (error.kind != GIVEN) {
        fill_noise(error.kind, buffer, s.source[which == BEFORE ? 0 : 2], at, n);
        return buffer;
    }
    const T *values = static_cast<const T *>(f.noise[which]);
    if (f.noise_count[which] == f.n)
        return values + at;
    copy_row(buffer, values, f.noise_inner[which], f.noise_count[which], at, n);
    return buffer;
}

template <int GROWTH, class T> inline void error_row(T *out, const T *x, const T *noise, const T *scale, int64_t n) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = with_error<GROWTH>(x[j], noise[j], scale[j]);
}

template <class T> inline void error_row(int growth, T *out, const T *x, const T *noise, const T *scale, int64_t n) {
    if (growth == ADDITIVE)
        error_row<ADDITIVE>(out, x, noise, scale, n);
    else if (growth == PROPORTIONAL)
        error_row<PROPORTIONAL>(out, x, noise, scale, n);
    else
        error_row<SHOT>(out, x, noise, scale, n);
}

template <class T> inline void limit_row(T *out, const T *x, const T *low, const T *high, int64_t n) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = between_tensors(x[j], low[j], high[j]);
}

// Calls f with a Rounding that the compiler knows.
template <int R> struct Fixed {
    static constexpr int rounding = R;
};

template <class F> inline void with_rounding(int rounding, F f) {
    switch (rounding) {
    case HALF_TO_ZERO: return f(Fixed<HALF_TO_ZERO>{});
    case TO_ZERO: return f(Fixed<TO_ZERO>{});
    case AWAY_FROM_ZERO: return f(Fixed<AWAY_FROM_ZERO>{});
    case DOWN: return f(Fixed<DOWN>{});
    case UP: return f(Fixed<UP>{});
    case STOCHASTIC: return f(Fixed<STOCHASTIC>{});
    default: return f(Fixed<HALF_EVEN>{});
    }
}

// Limits that are numbers, then levels at fixed places, in one loop.
template <class T> struct FixedLevels {
    T limit_low, limit_high, low, high, least, most, low_after, high_after;
    Grid<T> grid;

    FixedLevels(const Setting<T> &s, T limit_low, T limit_high) : limit_low(limit_low), limit_high(limit_high), grid(s.grid) {
        constexpr T infinite = std::numeric_limits<T>::infinity();
        const bool first = s.plan.clip == BEFORE_ROUNDING, last = s.plan.clip == AFTER_ROUNDING;
        low = first ? grid.low : -infinite;
        high = first ? grid.high : infinite;
        least = first ? grid.first : -infinite;
        most = first ? grid.last : infinite;
        low_after = last ? grid.low : -infinite;
        high_after = last ? grid.high : infinite;
    }

    template <int ROUNDING, bool SHIFTED> void run(T *out, const T *in, const T *u, int64_t n) const {
        const FixedLevels a = *this;
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j) {
            const T x = between(in[j], a.limit_low, a.limit_high), v = in_steps<SHIFTED>(x, a.low, a.high, a.grid);
            const T k = round_level<ROUNDING, SHIFTED>(directed(ROUNDING) ? at_ends(v, x, a.least, a.most, a.grid) : v, x, ROUNDING == STOCHASTIC ? u[j] : T(0));
            out[j] = between(from_steps<SHIFTED>(k, a.grid), a.low_after, a.high_after);
        }
    }
};

template <int ROUNDING, bool SHIFTED, class T> inline void round_row(T *k, const T *v, const T *x, const T *u, int64_t n) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        k[j] = round_level<ROUNDING, SHIFTED>(v[j], x[j], ROUNDING == STOCHASTIC ? u[j] : T(0));
}

// The same with a row for everything, what comes between being kept: x2 within the limits, v in steps, k after rounding.
template <class T> struct LevelRows {
    T x2[BLOCK], v[BLOCK], k[BLOCK];

    void run(T *y, const T *x1, const T *u, const GridRows<T> &grid, const Setting<T> &s, T limit_low, T limit_high, bool shifted, int64_t n) {
        constexpr T infinite = std::numeric_limits<T>::infinity();
        const bool first = s.plan.clip == BEFORE_ROUNDING, last = s.plan.clip == AFTER_ROUNDING;
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j) {
            const Grid<T> g = grid[j];
            x2[j] = between(x1[j], limit_low, limit_high);
            v[j] = in_steps<true>(x2[j], first ? g.low : -infinite, first ? g.high : infinite, g);
        }
        if (directed(s.plan.rounding)) {
            NS_INDEPENDENT
            for (int64_t j = 0; j < n; ++j) {
                const Grid<T> g = grid[j];
                v[j] = at_ends(v[j], x2[j], first ? g.first : -infinite, first ? g.last : infinite, g);
            }
        }
        with_rounding(s.plan.rounding, [&](auto r) {
            (shifted ? round_row<r.rounding, true, T> : round_row<r.rounding, false, T>)(k, v, x2, u, n);
        });
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j) {
            const Grid<T> g = grid[j];
            y[j] = between(from_steps<true>(k[j], g), last ? g.low : -infinite, last ? g.high : infinite);
        }
    }
};

} // namespace NEUROSIM_SET
