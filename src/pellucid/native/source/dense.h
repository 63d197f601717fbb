// The products of a dense layer, for sizes at which a general library spends more on arranging than on computing: tiles
// of the result are summed in registers from the arrays as they lie.

constexpr long kInCache = 1 << 17;  // floats of b that stay in a thread's second-level cache
constexpr long kSumColumns = 256;  // whose sums one thread takes: they stay in its first-level cache

PELLUCID_INLINE Vec bent(Vec z, Bend bend) {
  const Vec zero = {};
  if (bend == Bend::relu) return z < zero ? zero : z;
  return bend == Bend::tanh ? tanh(z) : bend == Bend::sigmoid ? sigmoid(z) : z;
}

inline bool stays_in_cache(Parallel& pool, long rows, long count, long columns) {
  return count * columns <= kInCache && rows >= kTileRows * pool.threads();
}

// The bias of one panel's columns from `o` on, of which `n` are left; null: zeros.
PELLUCID_INLINE void load_bias(Vec (&to)[2], const float* bias, long o, long n) {
  for (int j = 0; j < 2; ++j) to[j] = bias == nullptr ? Vec{} : load_some(bias + o + j * kLanes, n - j * kLanes);
}

// c[m, n] = bias[n] + sum over k of a[m * row + k * step] * b[k, n]   (bias may be null).   b: panels of kTileColumns
// columns, `count` rows each, packed; or, where `b_step` is given, the array itself with rows of so many floats.
inline void product(Parallel& pool, long rows, long count, long columns, const float* a, long row, long step,
                    const float* b, long b_step, const float* bias, float* c) {
  const Parts down(rows, kTileRows);
  const long across = (columns + kTileColumns - 1) / kTileColumns;
  const auto tiles = [&](long o, long begin, long end) {  // a column of them
    const long n = columns - o;
    const float* panel = b_step != 0 ? b + o : b + o * count;
    const long panel_step = b_step != 0 ? b_step : kTileColumns;
    Vec first[2];
    load_bias(first, bias, o, n);
    for (long d = begin; d < end; ++d) {
      const long m = down.begin(d);
      with_rows<kTileRows>(down.size(d), [&](auto many) {
        constexpr int kRows = decltype(many)::value;
        Vec sums[kRows][2];
        for (int r = 0; r < kRows; ++r) sums[r][0] = first[0], sums[r][1] = first[1];
        multiply(sums, count, a + m * row, row, [&](long k) { return k * step; }, panel, panel_step);
        for (int r = 0; r < kRows; ++r) {
          store_some(c + (m + r) * columns + o, sums[r][0], n);
          store_some(c + (m + r) * columns + o + kLanes, sums[r][1], n - kLanes);
        }
      });
    }
  };
  if (stays_in_cache(pool, rows, count, columns)) {
    // b stays in the cache: a task is a row of tiles, so that c is written from its beginning to its end
    pool.each(down.parts, [&](long part) {
      for (long o = 0; o < columns; o += kTileColumns) tiles(o, part, part + 1);
    });
    return;
  }
  // a task is a column of tiles where there are several, so that its part of b stays in the cache
  const long cuts = across >= pool.threads() ? 1 : (pool.threads() + across - 1) / across;
  const Parts share(down.parts, (down.parts + cuts - 1) / (cuts > 0 ? cuts : 1));
  pool.each(across * share.parts, [&](long task) {
    const long part = task % share.parts;
    tiles(task / share.parts * kTileColumns, share.begin(part), share.begin(part + 1));
  });
}

inline long panels_size(long count, long columns) { return up(columns, kTileColumns) * count; }

// As `product`, b [count, columns] with element (k, n) at b[k * b_row + n * b_column].
inline void product_of(Parallel& pool, long rows, long count, long columns, const float* a, long row, long step,
                       const float* b, long b_row, long b_column, const float* bias, float* c) {
  // of many rows b is read again and again; rows of it that lie a power of two apart drive one another from the cache
  if (b_column == 1 && columns % kTileColumns == 0 && !stays_in_cache(pool, rows, count, columns))
    return product(pool, rows, count, columns, a, row, step, b, b_row, bias, c);
  Scratch panels(panels_size(count, columns));
  pack(b, count, columns, b_row, b_column, kTileColumns, panels.data());
  product(pool, rows, count, columns, a, row, step, panels.data(), 0, bias, c);
}

void dense(Parallel& pool, const Density& d, const float* x, const float* w, const float* bias, float* y) {
  product_of(pool, d.rows, d.inputs, d.outputs, x, d.inputs, 1, w, d.outputs, 1, bias, y);
}

void dense_dw(Parallel& pool, const Density& d, const float* x, const float* dy, float* dw, float* db) {
  product_of(pool, d.inputs, d.rows, d.outputs, x, 1, d.inputs, dy, d.outputs, 1, nullptr, dw);
  const Parts wide(d.outputs, kSumColumns);
  pool.each(wide.parts, [&](long part) {
    const long first = wide.begin(part), n = wide.size(part);
    std::memset(db + first, 0, static_cast<size_t>(n) * 4);
    for (long i = 0; i < d.rows; ++i)
      for (long o = first; o < first + n; ++o) db[o] += dy[i * d.outputs + o];
  });
}
