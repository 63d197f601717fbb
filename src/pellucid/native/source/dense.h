// The products of a dense layer, for sizes at which a general library spends more on arranging than on computing: tiles
// of the result are summed in registers from the arrays as they lie.

constexpr long kInCache = 1 << 17;  // floats of b that stay in a thread's second-level cache
constexpr long kPiece = 1L << 14;  // floats that a thread bends at a time
constexpr long kDeep = 256;  // rows of a gradient that are taken at a time: some columns of them stay in the cache

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

// put(at, vector of z from there on, how many of its numbers there are), of all n.
template <typename Put>
void each_vector(Parallel& pool, long n, const float* z, Put put) {
  const Parts pieces(n, kPiece);
  pool.each(pieces.parts, [&](long piece) {
    const long end = pieces.begin(piece + 1);
    for (long i = pieces.begin(piece); i < end; i += kLanes) put(i, load_some(z + i, end - i), end - i);
  });
}

// Calls by(put) with a put as `each_vector` has it, which stores what bends z, and the slope of gelu unless it is null.
template <typename By>
PELLUCID_INLINE void with_bend(Bend bend, float* y, float* slope, By by) {
  if (bend == Bend::gelu && slope != nullptr)
    return by([=](long at, Vec z, long n) {
      Vec here;
      store_some(y + at, gelu(z, &here), n), store_some(slope + at, here, n);
    });
  by([=](long at, Vec z, long n) { store_some(y + at, bent(z, bend), n); });
}

void bend(Parallel& pool, Bend how, long n, const float* z, float* y, float* slope) {
  with_bend(how, y, slope, [&](auto put) { each_vector(pool, n, z, put); });
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
    with_bend(bend, y, slope, [&](auto put) {
      product_to(pool, d.rows, d.inputs, d.outputs, x, d.inputs, 1, panels, b_step, bias, put);
    });
  });
}

// The gradients of w and of the bias. A task has some columns of both; it takes the rows of dy a block at a time, laid out
// one behind the other: as they lie, a power of two apart, they would drive one another from the cache.
void dense_dw(Parallel& pool, const Density& d, const float* x, const float* dy, float* dw, float* db) {
  if (d.rows == 0) std::memset(dw, 0, static_cast<size_t>(d.inputs * d.outputs) * 4);
  if (d.rows == 0) std::memset(db, 0, static_cast<size_t>(d.outputs) * 4);
  if (d.rows == 0 || d.outputs == 0) return;
  const long across = up(d.outputs, kTileColumns) / kTileColumns;
  const long cuts = across >= pool.threads() ? 1 : (pool.threads() + across - 1) / across;
  const Parts share(d.inputs, most((d.inputs + cuts - 1) / cuts, 1)), deep(d.rows, kDeep);
  pool.each(across * share.parts, [&](long task) {
    thread_local Scratch blocks, sums;
    const long part = task % share.parts, first = share.begin(part), o = task / share.parts * kTileColumns;
    const long n = d.outputs - o;
    float* const block = blocks.room(deep.largest() * kTileColumns);
    float* const all = sums.room(share.largest() * kTileColumns);
    const Parts down(share.size(part), kTileRows);
    Vec bias[2] = {};
    for (long at = 0; at < deep.parts; ++at) {
      const long row = deep.begin(at), count = deep.size(at);
      const bool begun = at > 0, last = at + 1 == deep.parts;
      const float* from = dy + row * d.outputs + o;
      Vec here[2] = {};
      for (long k = 0; k < count; ++k, from += d.outputs)
        for (int j = 0; j < 2; ++j) {
          const Vec v = load_some(from + j * kLanes, n - j * kLanes);
          store(block + k * kTileColumns + j * kLanes, v), here[j] += v;
        }
      for (int j = 0; j < 2; ++j) bias[j] += here[j];
      for (long t = 0; t < down.parts; ++t)
        with_rows<kTileRows>(down.size(t), [&](auto many) {
          constexpr int kRows = decltype(many)::value;
          const long m = down.begin(t);
          float* const to = all + m * kTileColumns;
          Vec tile[kRows][2];
          for (int r = 0; r < kRows; ++r)
            for (int j = 0; j < 2; ++j) tile[r][j] = begun ? load(to + r * kTileColumns + j * kLanes) : Vec{};
          multiply(tile, count, x + row * d.inputs + first + m, 1, [&](long k) { return k * d.inputs; }, block,
                   kTileColumns);
          float* const end = dw + (first + m) * d.outputs + o;
          for (int r = 0; r < kRows; ++r)
            for (int j = 0; j < 2; ++j)
              if (last)
                store_some(end + r * d.outputs + j * kLanes, tile[r][j], n - j * kLanes);
              else
                store(to + r * kTileColumns + j * kLanes, tile[r][j]);
        });
    }
    for (int j = 0; j < 2 && part == 0; ++j) store_some(db + o + j * kLanes, bias[j], n - j * kLanes);
  });
}
