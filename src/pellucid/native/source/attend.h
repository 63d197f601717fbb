// Attention, one head of one sequence at a time: scores, their softmax and what is taken stay in a core's cache, some
// queries at a time. The way back computes the weights again, so that nothing as large as [steps, steps] is kept.

constexpr long kQueries = 64, kCausalQueries = 16;  // whose scores are held at a time; fewer leave out more

// c[m, n] = sum over k of a[m * row + k * step] * b[k, n], for columns up to a multiple of kTileColumns; or, `add`, that
// much more.   b: rows of b_step floats; or, b_step 0, panels as `pack` lays them out.
inline void tiles(long rows, long count, long columns, const float* a, long row, long step, const float* b, long b_step,
                  bool add, float* c, long c_step) {
  const Parts down(rows, kTileRows);
  for (long o = 0; o < columns; o += kTileColumns) {
    const float* panel = b_step != 0 ? b + o : b + o * count;
    for (long part = 0; part < down.parts; ++part) {
      const long m = down.begin(part);
      with_rows<kTileRows>(down.size(part), [&](auto many) {
        constexpr int kRows = decltype(many)::value;
        float* to = c + m * c_step + o;
        Vec sums[kRows][2] = {};
        if (add)
          for (int r = 0; r < kRows; ++r)
            for (int j = 0; j < 2; ++j) sums[r][j] = load(to + r * c_step + j * kLanes);
        multiply(sums, count, a + m * row, row, [&](long k) { return k * step; }, panel,
                 b_step != 0 ? b_step : kTileColumns);
        for (int r = 0; r < kRows; ++r)
          for (int j = 0; j < 2; ++j) store(to + r * c_step + j * kLanes, sums[r][j]);
      });
    }
  }
}

// One head: where its queries, keys and values lie, and how.
struct Head {
  const Attention& a;
  long step, wide, keys;       // from one step to the next; width and steps, up to a whole number of panels
  const float *q, *k, *v;
  Head(const Attention& a, const float* mixed, long task)
      : a(a), step(3 * a.heads * a.width), wide(up(a.width, kTileColumns)), keys(up(a.steps, kTileColumns)) {
    q = mixed + task / a.heads * a.steps * step + task % a.heads * a.width;
    k = q + a.heads * a.width, v = k + a.heads * a.width;
  }

  // rows `step` floats apart as rows of `wide` floats, zeros beyond the width
  void gather(const float* from, long step, float* to) const {
    for (long i = 0; i < a.steps; ++i, from += step, to += wide)
      for (long n = 0; n < wide; n += kLanes) store(to + n, n < a.width ? load_some(from + n, a.width - n) : Vec{});
  }
  // and back, of some rows
  void scatter(const float* from, long rows, long step, float* to) const {
    for (long i = 0; i < rows; ++i, from += wide, to += step)
      for (long n = 0; n < a.width; n += kLanes) store_some(to + n, load(from + n), a.width - n);
  }
  // transposed, as panels of keys
  void turn(const float* from, float* to) const { pack(from, a.width, a.steps, 1, step, kTileColumns, to); }

  long queries() const { return a.causal ? kCausalQueries : kQueries; }
  // How many keys the queries up to `end` see.
  long seen(long end) const { return a.causal ? end : a.steps; }

  // softmax(q·k' / sqrt(d)) of `n` queries from `first` on: [n, keys]; what is not seen is 0, up to a whole panel.
  void weights(const float* turned, long first, long n, float* p) const {
    const long most = up(seen(first + n), kTileColumns);
    tiles(n, a.width, most, q + first * step, step, 1, turned, 0, false, p, keys);
    const float scale = a.scale();
    for (long r = 0; r < n; ++r, p += keys) {
      const long limit = seen(first + r + 1);
      const Vec lowest = splat(-__builtin_inff());
      Vec high = lowest;
      for (long j = 0; j < limit; j += kLanes) {
        const Vec here = first_of(load(p + j), limit - j, lowest);
        high = here > high ? here : high;
      }
      const Vec top = splat(across(high, [](Vec a, Vec b) { return a > b ? a : b; }));
      Vec sum = {};
      for (long j = 0; j < most; j += kLanes) {
        Vec e = {};
        if (j < limit) e = first_of(exponential((load(p + j) - top) * scale), limit - j, Vec{});
        store(p + j, e), sum += e;
      }
      const Vec share = splat(1.0f / total(sum));
      for (long j = 0; j < up(limit, kLanes); j += kLanes) store(p + j, load(p + j) * share);
    }
  }
};

void attend(Parallel& pool, const Attention& a, const float* mixed, float* y) {
  pool.each(a.batch * a.heads, [&](long task) {
    thread_local Scratch turned, values, weights, taken;
    const Head h(a, mixed, task);
    float* kt = turned.room(h.keys * a.width);
    float* v = values.room(a.steps * h.wide);
    float* p = weights.room(kQueries * h.keys);
    float* o = taken.room(kQueries * h.wide);
    h.turn(h.k, kt), h.gather(h.v, h.step, v);
    const long row = a.heads * a.width;
    float* to = y + task / a.heads * a.steps * row + task % a.heads * a.width;
    for (long first = 0; first < a.steps; first += h.queries()) {
      const long n = least(h.queries(), a.steps - first);
      h.weights(kt, first, n, p);
      tiles(n, h.seen(first + n), h.wide, p, h.keys, 1, v, h.wide, false, o, h.wide);
      h.scatter(o, n, row, to + first * row);
    }
  });
}

void attend_back(Parallel& pool, const Attention& a, const float* mixed, const float* dy, float* dmixed) {
  pool.each(a.batch * a.heads, [&](long task) {
    thread_local Scratch turned[2], rows[6], squares[2];
    const Head h(a, mixed, task);
    const long row = a.heads * a.width, size = a.steps * h.wide;
    float* kt = turned[0].room(h.keys * a.width);
    float* vt = turned[1].room(h.keys * a.width);
    float* q = rows[0].room(size);
    float* k = rows[1].room(size);
    float* g = rows[2].room(size);
    float* dk = rows[3].room(size);
    float* dv = rows[4].room(size);
    float* dq = rows[5].room(kQueries * h.wide);
    float* p = squares[0].room(kQueries * h.keys);
    float* ds = squares[1].room(kQueries * h.keys);
    h.turn(h.k, kt), h.turn(h.v, vt), h.gather(h.q, h.step, q), h.gather(h.k, h.step, k);
    h.gather(dy + task / a.heads * a.steps * row + task % a.heads * a.width, row, g);
    std::memset(dk, 0, static_cast<size_t>(size) * 4), std::memset(dv, 0, static_cast<size_t>(size) * 4);
    float* to = dmixed + (h.q - mixed);
    for (long first = 0; first < a.steps; first += h.queries()) {
      const long n = least(h.queries(), a.steps - first), seen = h.seen(first + n), most = up(seen, kTileColumns);
      h.weights(kt, first, n, p);
      tiles(n, a.width, most, g + first * h.wide, h.wide, 1, vt, 0, false, ds, h.keys);
      for (long r = 0; r < n; ++r) {  // the softmax, back
        float* d = ds + r * h.keys;
        const float* w = p + r * h.keys;
        Vec sum = {};
        for (long j = 0; j < most; j += kLanes) sum += load(d + j) * load(w + j);
        const Vec mean = splat(total(sum));
        for (long j = 0; j < most; j += kLanes) store(d + j, (load(d + j) - mean) * load(w + j) * a.scale());
      }
      tiles(n, seen, h.wide, ds, h.keys, 1, k, h.wide, false, dq, h.wide);
      h.scatter(dq, n, h.step, to + first * h.step);
      tiles(seen, n, h.wide, ds, 1, h.keys, q + first * h.wide, h.wide, true, dk, h.wide);
      tiles(seen, n, h.wide, p, 1, h.keys, g + first * h.wide, h.wide, true, dv, h.wide);
    }
    h.scatter(dk, a.steps, h.step, to + row), h.scatter(dv, a.steps, h.step, to + 2 * row);
  });
}
