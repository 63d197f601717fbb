// The products of a dense layer, for sizes at which a general library spends more on arranging than on computing: tiles
// of the result are summed in registers from the arrays as they lie.

constexpr long kInCache = 1 << 17;  // floats of b that stay in a thread's second-level cache
constexpr long kSumColumns = 256;  // whose sums one thread takes: they stay in its first-level cache

// z·sigmoid(2u), u = sqrt(2 / pi)(z + 0.044715 z³), and its slope where that is asked for.
PELLUCID_INLINE Vec gelu(Vec z, Vec* slope = nullptr) {
  constexpr float kTwice = 1.5957691216057308f, kCubed = 0.044715f;
  const Vec square = z * z, s = sigmoid(z * (square * kCubed + 1.0f) * kTwice);
  if (slope != nullptr) *slope = s + z * s * (1.0f - s) * (square * (3 * kCubed) + 1.0f) * kTwice;
  return z * s;
}

PELLUCID_INLINE Vec bent(Vec z, Bend bend) {
  const Vec zero = {};
  if (bend == Bend::relu) return z < zero ? zero : z;
  if (bend == Bend::gelu) return gelu(z);
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
// put(m * columns + n, vector of c from there on, how many of its numbers there are).
template <typename Put>
void product_to(Parallel& pool, long rows, long count, long columns, const float* a, long row, long step, const float* b,
                long b_step, const float* bias, Put put) {
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
          put((m + r) * columns + o, sums[r][0], n);
          put((m + r) * columns + o + kLanes, sums[r][1], n - kLanes);
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

inline void product(Parallel& pool, long rows, long count, long columns, const float* a, long row, long step,
                    const float* b, long b_step, const float* bias, float* c) {
  product_to(pool, rows, count, columns, a, row, step, b, b_step, bias,
             [c](long at, Vec v, long n) { store_some(c + at, v, n); });
}

inline long panels_size(long count, long columns) { return up(columns, kTileColumns) * count; }

// Calls body(b, its b_step) for b [count, columns] with element (k, n) at b[k * b_row + n * b_column].
template <typename Body>
PELLUCID_INLINE void with_panels(Parallel& pool, long rows, long count, long columns, const float* b, long b_row,
                                 long b_column, Body body) {
  // of many rows b is read again and again; rows of it that lie a power of two apart drive one another from the cache
  Scratch packed;
  const bool as_it_is =
      b_column == 1 && columns % kTileColumns == 0 && !stays_in_cache(pool, rows, count, columns);
  if (!as_it_is)
    pack(b, count, columns, b_row, b_column, kTileColumns, packed.room(panels_size(count, columns)));
  body(as_it_is ? b : packed.data(), as_it_is ? b_row : 0);
}

inline void product_of(Parallel& pool, long rows, long count, long columns, const float* a, long row, long step,
                       const float* b, long b_row, long b_column, const float* bias, float* c) {
  with_panels(pool, rows, count, columns, b, b_row, b_column, [&](const float* panels, long b_step) {
    product(pool, rows, count, columns, a, row, step, panels, b_step, bias, c);
  });
}

void dense(Parallel& pool, const Density& d, const float* x, const float* w, const float* bias, float* y) {
  product_of(pool, d.rows, d.inputs, d.outputs, x, d.inputs, 1, w, d.outputs, 1, bias, y);
}

void dense_bend(Parallel& pool, const Density& d, Bend bend, const float* x, const float* w, const float* bias, float* y,
                float* slope) {
  with_panels(pool, d.rows, d.inputs, d.outputs, w, d.outputs, 1, [&](const float* panels, long b_step) {
    const auto by = [&](auto put) {
      product_to(pool, d.rows, d.inputs, d.outputs, x, d.inputs, 1, panels, b_step, bias, put);
    };
    if (bend == Bend::gelu && slope != nullptr)
      by([=](long at, Vec z, long n) {
        Vec here;
        store_some(y + at, gelu(z, &here), n), store_some(slope + at, here, n);
      });
    else
      by([=](long at, Vec z, long n) { store_some(y + at, bent(z, bend), n); });
  });
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
