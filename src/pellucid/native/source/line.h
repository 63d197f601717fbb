// Answers of a network whose layers stand in a line: one call for all of them, rows in blocks that a cache holds.

constexpr long kUnpacked = 8;             // below it a dense layer's weights are read as they lie
constexpr long kBlockFloats = 1L << 22;  // of the widest stage's rows that are under way at a time

// Weights are read in panels, again and again: they are laid out once, except for those of large dense layers, of which
// a second copy would cost more memory than it saves time.
long packed_size(const Stage& s) {
  if (s.act == Act::recur) return feedback_size(s.r) + panels_size(s.features, s.r.gates() * s.r.width);
  const long size = s.act == Act::dense ? panels_size(s.c.channels, s.c.outputs) : 0;
  return size <= kInCache ? size : 0;
}

void pack_stage(const Stage& s, float* to) {
  const auto panels = [&](long count, long columns) { pack(s.w, count, columns, columns, 1, kTileColumns, to); };
  if (s.act == Act::dense) return panels(s.c.channels, s.c.outputs);
  Alone alone;
  pack_gates(alone, s.u, s.r.width, s.r.gates(), to);
  to += feedback_size(s.r);
  panels(s.features, s.r.gates() * s.r.width);
}

// Rooms of a thread that answers; they are kept for the next call.
struct Rooms {
  Scratch rows[2], turned, z, h, c, zeros;
};

// y[Rows, o ...] = bent(x·w + b), for `Vectors` vectors of columns from o on, of which there are `left`.
template <int Rows, int Vectors>
PELLUCID_INLINE void few_columns(const Stage& s, const float* x, long o, float* y) {
  const long inputs = s.c.channels, outputs = s.c.outputs, left = outputs - o;
  Vec sums[Rows][Vectors];
  for (int j = 0; j < Vectors; ++j) {
    const Vec first = s.b == nullptr ? Vec{} : load_some(s.b + o + j * kLanes, left - j * kLanes);
    for (int r = 0; r < Rows; ++r) sums[r][j] = first;
  }
  // whole vectors, which may reach into the next rows of w, but not beyond its end
  const long behind = inputs * outputs - o - Vectors * kLanes;  // floats, behind the vectors of the first row
  const long whole = behind < 0 ? 0 : least(behind / outputs + 1, inputs);
  multiply(sums, whole, x, inputs, [](long k) { return k; }, s.w + o, outputs);
  for (long k = whole; k < inputs; ++k)
    for (int j = 0; j < Vectors; ++j) {
      const Vec right = load_some(s.w + k * outputs + o + j * kLanes, left - j * kLanes);
      for (int r = 0; r < Rows; ++r) sums[r][j] += splat(x[r * inputs + k]) * right;
    }
  for (int r = 0; r < Rows; ++r)
    for (int j = 0; j < Vectors; ++j)
      store_some(y + r * outputs + o + j * kLanes, bent(sums[r][j], s.bend), left - j * kLanes);
}

// A dense layer of few rows: every weight is read once, and rows of weights in long pieces.
inline void few_rows(Parallel& pool, const Stage& s, long rows, const float* x, float* y) {
  with_rows<kUnpacked - 1>(rows, [&](auto many) {
    constexpr int kRows = decltype(many)::value;
    const long outputs = s.c.outputs;
    const auto in = [&](auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      constexpr long kColumns = kVectors * kLanes;
      pool.each((outputs + kColumns - 1) / kColumns,
                [&](long part) { few_columns<kRows, kVectors>(s, x, part * kColumns, y); });
    };
    if (outputs <= kLanes) return in(Count<1>{});
    if (kRows > 2 || outputs <= 2 * kLanes) return in(Count<2>{});
    if (outputs >= 8 * kLanes * pool.threads()) return in(Count<8>{});
    in(Count<4>{});
  });
}

inline void bend_all(Parallel& pool, Bend how, long n, float* y) {
  if (how != Bend::none) bend(pool, how, n, y, y, nullptr);
}

inline void rescale(Parallel& pool, const Stage& s, long rows, const float* x, float* y) {
  const long period = s.c.channels;
  pool.each(rows, [&](long row) {
    const float* from = x + row * s.inputs;
    float* to = y + row * s.inputs;
    if (period == 1) {
      const float w = s.w[0], u = s.u[0], b = s.b == nullptr ? 0 : s.b[0];
      for (long i = 0; i < s.inputs; ++i) to[i] = (from[i] - w) * u + b;
    } else {
      for (long at = 0; at < s.inputs; at += period)
        for (long i = 0; i < period; ++i) to[at + i] = (from[at + i] - s.w[i]) * s.u[i];
      if (s.b != nullptr)
        for (long at = 0; at < s.inputs; at += period)
          for (long i = 0; i < period; ++i) to[at + i] += s.b[i];
    }
  });
  bend_all(pool, s.bend, rows * s.inputs, y);
}

inline void mean_of_places(Parallel& pool, const Stage& s, long rows, const float* x, float* y) {
  const long places = s.inputs / s.outputs;
  pool.each(rows, [&](long row) {
    const float* from = x + row * s.inputs;
    float* to = y + row * s.outputs;
    for (long n = 0; n < s.outputs; n += kLanes) {
      Vec sum = {};
      for (long i = 0; i < places; ++i) sum += load_some(from + i * s.outputs + n, s.outputs - n);
      store_some(to + n, sum * (1.0f / static_cast<float>(places)), s.outputs - n);
    }
  });
}

// [a, b, n] -> [b, a, n]
inline void swap_axes(const float* from, long a, long b, long n, float* to) {
  for (long i = 0; i < a; ++i)
    for (long j = 0; j < b; ++j) std::memcpy(to + (j * a + i) * n, from + (i * b + j) * n, static_cast<size_t>(n) * 4);
}

inline void read_sequences(Parallel& pool, const Stage& s, long rows, const float* x, Rooms& rooms, float* y) {
  Recurrence r = s.r;
  r.batch = rows;
  const long wide = r.gates() * r.width, all = r.steps * rows;
  if (rows > 1) {
    float* turned = rooms.turned.room(all * s.features);
    swap_axes(x, rows, r.steps, s.features, turned);
    x = turned;
  }
  RecurrentForward f{};
  float* z = rooms.z.room(all * wide);
  product(pool, all, s.features, wide, x, s.features, 1, s.panels + feedback_size(r), 0, s.b, z);
  float* zeros = rooms.zeros.room(rows * r.width);
  std::memset(zeros, 0, static_cast<size_t>(rows * r.width) * 4);
  f.z = z, f.u = s.u, f.panels = s.panels, f.v = s.v, f.h0 = f.c0 = zeros;
  f.h = s.each_step && rows == 1 ? y : rooms.h.room(all * r.width);
  f.c = r.cell == Cell::lstm ? rooms.c.room(all * r.width) : nullptr;
  recur(pool, r, f);
  const long last = r.backwards ? 0 : (r.steps - 1) * rows * r.width;
  if (!s.each_step)
    std::memcpy(y, f.h + last, static_cast<size_t>(rows * r.width) * 4);
  else if (rows > 1)
    swap_axes(f.h, r.steps, rows, r.width, y);
}

inline void run_stage(Parallel& pool, const Stage& s, long rows, const float* x, Rooms& rooms, float* y) {
  Convolution c = s.c;
  c.batch = rows;
  switch (s.act) {
    case Act::scale: return rescale(pool, s, rows, x, y);
    case Act::dense: {
      const long all = rows * (s.inputs / c.channels);
      if (all < kUnpacked) return few_rows(pool, s, all, x, y);
      if (s.panels != nullptr)
        product(pool, all, c.channels, c.outputs, x, c.channels, 1, s.panels, 0, s.b, y);
      else
        dense(pool, {all, c.channels, c.outputs}, x, s.w, s.b, y);
      return bend_all(pool, s.bend, all * c.outputs, y);
    }
    case Act::convolve:
      if (alone(s.join)) return convolve(pool, c, x, s.w, s.b, y);
      return convolve_join(pool, c, s.join, x, s.w, s.b, y, nullptr);
    case Act::largest:
      return largest(pool, {rows, c.height, c.width, c.channels, c.out_height, c.out_width, c.rows, c.columns,
                            c.stride_rows, c.stride_columns, c.pad_top, c.pad_left}, x, y);
    case Act::mean: return mean_of_places(pool, s, rows, x, y);
    case Act::recur: return read_sequences(pool, s, rows, x, rooms, y);
    case Act::bend:
      std::memcpy(y, x, static_cast<size_t>(rows * s.inputs) * 4);
      return bend_all(pool, s.bend, rows * s.inputs, y);
  }
}

void answer(Parallel& pool, const Stage* stages, long count, long rows, const float* x, float* y) {
  if (rows == 0) return;
  long widest = 1;
  for (long i = 0; i < count; ++i) {
    const Recurrence& r = stages[i].r;
    const long inside = stages[i].act == Act::recur ? r.steps * r.gates() * r.width : 0;
    widest = most(widest, most(inside, most(stages[i].inputs, stages[i].outputs)));
  }
  thread_local Rooms rooms;
  const Parts blocks(rows, most(kBlockFloats / widest, 1));
  for (long block = 0; block < blocks.parts; ++block) {
    const long first = blocks.begin(block), n = blocks.size(block);
    const float* from = x + first * stages[0].inputs;
    for (long i = 0; i < count; ++i) {
      const Stage& s = stages[i];
      float* to = i + 1 == count ? y + first * s.outputs : rooms.rows[i % 2].room(n * s.outputs);
      run_stage(pool, s, n, from, rooms, to);
      from = to;
    }
  }
}
