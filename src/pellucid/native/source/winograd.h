// Convolution with a window of 3 x 3 that moves by one place, in 16 multiplications for 4 outputs where sums over the
// window take 36: Winograd's minimal filtering F(2 x 2, 3 x 3) (Lavin and Gray, "Fast algorithms for convolutional neural
// networks", 2016). A frame is 4 x 4 places of the padded image; frames lie two places apart, and each gives 2 x 2
// outputs y = A' [(G w G') * (B' d B)] A, the product in brackets taken place by place: 16 products of matrices. As the
// factors of B and A are 0, 1 and -1 and those of G a half at least, rounding is no worse than that of the plain sums.

constexpr long kSpots = 16;             // places of a frame
constexpr long kFramesAtOnce = 112;     // whose transforms wait for their products
constexpr long kFewFrames = 28;         // in a batch: below it the window's transform does not pay
constexpr long kThin = 16;              // channels or outputs: below it the transforms take what the products save
constexpr long kOwnSums = 128 * 128;    // channels times outputs up to which every thread sums dw on its own
constexpr long kFramesTogether = 1024;  // of a batch, where threads share one sum

// Of an image, or of some rows of it.
struct Frames {
  long down, across;
  Frames(long height, long width) : down((height + 1) / 2), across((width + 1) / 2) {}
  long count() const { return down * across; }
  Padded around(long channels) const { return {2 * down + 2, 2 * across + 2, channels}; }
};

inline bool by_frames(const Convolution& c) {
  const long frames = Frames(c.out_height, c.out_width).count();
  return c.rows == 3 && c.columns == 3 && c.stride_rows == 1 && c.stride_columns == 1 && c.dilation_rows == 1 &&
         c.dilation_columns == 1 && c.channels >= kThin && c.outputs >= kThin && c.batch * frames >= kFewFrames &&
         kSpots * frames < 7 * c.out_height * c.out_width;  // outputs beyond the image, at small and odd sizes
}

// How far spots lie apart where each has `floats`: never such that all sixteen fall upon the same lines of a cache.
inline long apart(long floats) { return up(floats, 1024) + 64; }

// Floats of a panel's windows, or of their gradients, at each spot: [panels][spots][channels][kTileColumns].
inline long window_line(long channels) { return apart(channels * kTileColumns); }
inline long windows_size(long channels, long outputs) {
  return panel_columns(outputs) / kTileColumns * kSpots * window_line(channels);
}

// G w G'
inline void transform_window(Parallel& pool, const float* w, long channels, long outputs, float* to) {
  pool.each(panel_columns(outputs) / kTileColumns, [&](long panel) {
    const long line = window_line(channels);
    for (long c = 0; c < channels; ++c)
      for (long v = 0; v < 2; ++v) {
        const long o = panel * kTileColumns + v * kLanes;
        float* at = to + panel * kSpots * line + c * kTileColumns + v * kLanes;
        Vec down[4][3];
        for (long j = 0; j < 3; ++j) {
          Vec g[3];
          for (long i = 0; i < 3; ++i) g[i] = load_some(w + ((i * 3 + j) * channels + c) * outputs + o, outputs - o);
          const Vec ends = (g[0] + g[2]) * 0.5f, middle = g[1] * 0.5f;
          down[0][j] = g[0], down[1][j] = ends + middle, down[2][j] = ends - middle, down[3][j] = g[2];
        }
        for (long i = 0; i < 4; ++i, at += 4 * line) {
          const Vec ends = (down[i][0] + down[i][2]) * 0.5f, middle = down[i][1] * 0.5f;
          store(at, down[i][0]), store(at + line, ends + middle);
          store(at + 2 * line, ends - middle), store(at + 3 * line, down[i][2]);
        }
      }
  });
}

// B' d B of the frames of a padded image, from its row of frames `first` on: to[spots][frames][lead], spots `each` apart.
inline void transform_frames(const float* image, const Padded& p, long first, long down, long lead, long each,
                             float* to) {
  const long across = p.width / 2 - 1;
  const auto column = [&](const float* from, long left, Vec (&t)[4]) {
    Vec d[4];
    for (long i = 0; i < 4; ++i) d[i] = load_some(from + i * p.row(), left);
    t[0] = d[0] - d[2], t[1] = d[1] + d[2], t[2] = d[2] - d[1], t[3] = d[1] - d[3];
  };
  for (long i = 0; i < down; ++i)
    for (long n = 0; n < p.channels; n += kLanes) {
      const long left = p.channels - n;
      const float* from = image + 2 * (first + i) * p.row() + n;
      float* at = to + i * across * lead + n;
      Vec a[4], b[4];
      column(from, left, a), column(from + p.channels, left, b);
      for (long j = 0; j < across; ++j, at += lead) {
        from += 2 * p.channels;
        Vec c[4], d[4];
        column(from, left, c), column(from + p.channels, left, d);
        for (long u = 0; u < 4; ++u) {
          float* here = at + 4 * u * each;
          store(here, a[u] - c[u]), store(here + each, b[u] + c[u]);
          store(here + 2 * each, c[u] - b[u]), store(here + 3 * each, b[u] - d[u]);
          a[u] = c[u], b[u] = d[u];
        }
      }
    }
}

// The outputs of `count` images' frames (or of one image's, some of its rows) from their transforms.
struct Framed {
  long count, rows, width, outputs;  // rows and width of what each gives
  long channels, lead, each;         // of the transforms
};

inline void multiply_frames(const Framed& f, const float* frames, const float* windows, const float* bias, float* y) {
  const Frames grid(f.rows, f.width);
  const Parts blocks(f.count * grid.count(), kTileRows);
  const long line = window_line(f.channels);
  alignas(64) float products[kSpots * kTileRows * kTileColumns];
  for (long o = 0; o < f.outputs; o += kTileColumns) {
    const float* panel = windows + o / kTileColumns * kSpots * line;
    const long n = f.outputs - o;
    for (long block = 0; block < blocks.parts; ++block) {
      const long first = blocks.begin(block), size = blocks.size(block);
      with_rows<kTileRows>(size, [&](auto rows) {
        constexpr int kRows = decltype(rows)::value;
        for (long s = 0; s < kSpots; ++s) {
          Vec sums[kRows][2] = {};
          multiply(sums, f.channels, frames + s * f.each + first * f.lead, f.lead, [](long k) { return k; },
                   panel + s * line, kTileColumns);
          float* to = products + s * kTileRows * kTileColumns;
          for (int r = 0; r < kRows; ++r)
            store(to + r * kTileColumns, sums[r][0]), store(to + r * kTileColumns + kLanes, sums[r][1]);
        }
      });
      for (long r = 0; r < size; ++r) {  // A' m A
        const long image = (first + r) / grid.count(), at = (first + r) % grid.count();
        const long i = at / grid.across * 2, j = at % grid.across * 2;
        float* corner = y + ((image * f.rows + i) * f.width + j) * f.outputs + o;
        const bool below = i + 1 < f.rows, beside = j + 1 < f.width;
        for (long v = 0; v < 2 && v * kLanes < n; ++v) {
          const long left = n - v * kLanes;
          const float* from = products + r * kTileColumns + v * kLanes;
          const Vec start = bias == nullptr ? Vec{} : load_some(bias + o + v * kLanes, left);
          Vec top[4], low[4];
          for (long s = 0; s < 4; ++s) {
            Vec m[4];
            for (long u = 0; u < 4; ++u) m[u] = load(from + (4 * u + s) * kTileRows * kTileColumns);
            top[s] = m[0] + m[1] + m[2], low[s] = m[1] - m[2] - m[3];
          }
          float* to = corner + v * kLanes;
          store_some(to, start + top[0] + top[1] + top[2], left);
          if (beside) store_some(to + f.outputs, start + top[1] - top[2] - top[3], left);
          if (!below) continue;
          to += f.width * f.outputs;
          store_some(to, start + low[0] + low[1] + low[2], left);
          if (beside) store_some(to + f.outputs, start + low[1] - low[2] - low[3], left);
        }
      }
    }
  }
}

// As `convolve_packed`, of windows that `transform_window` gave.
template <typename Source, typename Sink>
inline void convolve_frames(Parallel& pool, const Convolution& c, const Source& source, const float* windows,
                            const float* bias, const Sink& sink, long bound) {
  const Frames whole(c.out_height, c.out_width);
  const long lead = up(c.channels, kLanes), share = (c.batch + pool.threads() - 1) / pool.threads();
  if (whole.count() * 4 <= kFramesAtOnce && share > 1) {  // several small images at once, the same for every thread
    const Padded p = whole.around(c.channels);
    const long at_once = least(kFramesAtOnce / whole.count(), share);
    const long parts = up((c.batch + at_once - 1) / at_once, pool.threads());
    const Parts blocks(c.batch, (c.batch + parts - 1) / parts);
    pool.each(blocks.parts, [&](long block) {
      thread_local Scratch room, frames;
      const long first = blocks.begin(block), count = blocks.size(block);
      const long each = apart(count * whole.count() * lead);
      float* copy = room.room(p.size());
      float* to = frames.room(kSpots * each);
      for (long i = 0; i < count; ++i) {
        pad(source(first + i), c.height, c.width, -c.pad_top, -c.pad_left, p, copy);
        transform_frames(copy, p, 0, whole.down, lead, each, to + i * whole.count() * lead);
      }
      const long row = first * c.out_height, rows = count * c.out_height;
      float* y = sink.place(row, rows);
      multiply_frames({count, c.out_height, c.out_width, c.outputs, c.channels, lead, each}, to, windows, bias, y);
      sink.done(row, rows, y);
    });
    return;
  }
  // bands of an image's rows: as many as threads could use, and none with more frames than a cache holds
  const long unit = sink.unit % 2 == 0 ? sink.unit : 2 * sink.unit, units = (c.out_height + unit - 1) / unit;
  const long want = pool.threads() == 1 ? 1 : 2L * pool.threads();
  long bands = c.batch >= want ? 1 : least((want + c.batch - 1) / c.batch, units);
  const long fit = least(kFramesAtOnce / whole.across * 2, bound) / unit;
  const long even = (units + bands - 1) / bands;
  const Parts cut(units, fit < 1 ? 1 : least(even, fit));
  pool.each(c.batch * cut.parts, [&](long i) {
    thread_local Scratch room, frames;
    const long image = i / cut.parts, part = i % cut.parts, first = cut.begin(part) * unit;
    const long rows = least(cut.begin(part + 1) * unit, c.out_height) - first;
    const Frames here(rows, c.out_width);
    const Padded p = here.around(c.channels);
    const long each = apart(here.count() * lead);
    float* copy = room.room(p.size());
    float* to = frames.room(kSpots * each);
    pad(source(image), c.height, c.width, first - c.pad_top, -c.pad_left, p, copy);
    transform_frames(copy, p, 0, here.down, lead, each, to);
    const long row = image * c.out_height + first;
    float* y = sink.place(row, rows);
    multiply_frames({1, rows, c.out_width, c.outputs, c.channels, lead, each}, to, windows, bias, y);
    sink.done(row, rows, y);
  });
}

// Transforms of some frames of images, and of the gradients of what they gave.
struct Pairs {
  const Convolution& c;
  long n, lead, each_x, each_dy;
  float* x;   // [spots][n][lead]
  float* dy;  // [panels][spots][n][kTileColumns]

  Pairs(const Convolution& c, long n, Scratch& x, Scratch& dy)
      : c(c), n(n), lead(up(c.channels, kLanes)), each_x(apart(n * lead)), each_dy(apart(n * kTileColumns)),
        x(x.room(kSpots * each_x)), dy(dy.room(panel_columns(c.outputs) / kTileColumns * kSpots * each_dy)) {}

  // Those of the rows of frames from `first` on of a padded image and of its dy as panels become the at-th and further.
  void take(const float* image, const float* panels, long first, long down, long at) const {
    const Frames grid(c.out_height, c.out_width);
    transform_frames(image, grid.around(c.channels), first, down, lead, each_x, x + at * lead);
    const long stops = c.out_height * c.out_width;
    for (long o = 0; o < c.outputs; o += kTileColumns)
      for (long i = 0; i < down; ++i)
        for (long j = 0; j < grid.across; ++j) {
          const long row = 2 * (first + i), column = 2 * j;
          const float* from = panels + o * stops + (row * c.out_width + column) * kTileColumns;
          float* to = dy + o / kTileColumns * kSpots * each_dy + (at + i * grid.across + j) * kTileColumns;
          const bool below = row + 1 < c.out_height, beside = column + 1 < c.out_width;
          for (long v = 0; v < kTileColumns; v += kLanes) gradients(from + v, below, beside, to + v);
        }
  }

  // A dy A'
  PELLUCID_INLINE void gradients(const float* from, bool below, bool beside, float* to) const {
    const float* next = from + c.out_width * kTileColumns;
    const Vec d[2][2] = {{load(from), beside ? load(from + kTileColumns) : Vec{}},
                         {below ? load(next) : Vec{}, below && beside ? load(next + kTileColumns) : Vec{}}};
    const Vec left[4] = {d[0][0], d[0][0] + d[1][0], d[0][0] - d[1][0], -d[1][0]};
    const Vec right[4] = {d[0][1], d[0][1] + d[1][1], d[0][1] - d[1][1], -d[1][1]};
    for (long u = 0; u < 4; ++u, to += 4 * each_dy) {
      store(to, left[u]), store(to + each_dy, left[u] + right[u]);
      store(to + 2 * each_dy, left[u] - right[u]), store(to + 3 * each_dy, -right[u]);
    }
  }

  // sums [panels][spots][channels][kTileColumns], of one spot of a panel (or, `fresh`, 0) += x' dy of the first `count`.
  void add(long place, long count, bool fresh, float* sums) const {
    const float* from = x + place % kSpots * each_x;
    const float* right = dy + place * each_dy;
    float* to = sums + place * window_line(c.channels);
    const Parts parts(c.channels, kTileRows);
    for (long part = 0; part < parts.parts; ++part)
      with_rows<kTileRows>(parts.size(part), [&](auto rows) {
        constexpr int kRows = decltype(rows)::value;
        const long m = parts.begin(part);
        float* here = to + m * kTileColumns;
        Vec sum[kRows][2] = {};
        multiply_rows(sum, count, from + m, [](int r) { return r; }, [&](long k) { return k * lead; }, right,
                      kTileColumns);
        for (int r = 0; r < kRows; ++r, here += kTileColumns) {
          store(here, fresh ? sum[r][0] : load(here) + sum[r][0]);
          store(here + kLanes, fresh ? sum[r][1] : load(here + kLanes) + sum[r][1]);
        }
      });
  }
};

// dw = G' s G, s the sum of what `groups` sums tell, `size` floats apart.
inline void transform_back(Parallel& pool, const Convolution& c, const float* sums, long groups, long size, float* dw) {
  pool.each(panel_columns(c.outputs) / kTileColumns, [&](long panel) {
    const long line = window_line(c.channels);
    for (long n = 0; n < c.channels; ++n)
      for (long v = 0; v < 2; ++v) {
        const long o = panel * kTileColumns + v * kLanes;
        const float* from = sums + panel * kSpots * line + n * kTileColumns + v * kLanes;
        Vec down[3][4];
        for (long s = 0; s < 4; ++s) {
          Vec m[4];
          for (long u = 0; u < 4; ++u) {
            const float* at = from + (4 * u + s) * line;
            m[u] = load(at);
            for (long group = 1; group < groups; ++group) m[u] += load(at + group * size);
          }
          const Vec both = (m[1] + m[2]) * 0.5f;
          down[0][s] = m[0] + both, down[1][s] = (m[1] - m[2]) * 0.5f, down[2][s] = both + m[3];
        }
        for (long i = 0; i < 3; ++i) {
          const Vec both = (down[i][1] + down[i][2]) * 0.5f;
          const Vec w[3] = {down[i][0] + both, (down[i][1] - down[i][2]) * 0.5f, both + down[i][3]};
          for (long j = 0; j < 3; ++j) store_some(dw + ((i * 3 + j) * c.channels + n) * c.outputs + o, w[j], c.outputs - o);
        }
      }
  });
}

template <typename Panels>
inline void convolve_dw_frames(Parallel& pool, const Convolution& c, const float* x, const Panels& fill, float* dw,
                               float* db) {
  const Frames grid(c.out_height, c.out_width);
  const Padded p = grid.around(c.channels);
  const long panels_each = c.out_height * c.out_width * panel_columns(c.outputs);
  const long size = windows_size(c.channels, c.outputs), spots = kSpots * panel_columns(c.outputs) / kTileColumns;
  Scratch biases(c.batch * c.outputs);  // of each image
  std::memset(biases.data(), 0, static_cast<size_t>(c.batch * c.outputs) * 4);
  const auto ready = [&](long image, float* copy, float* panels) {
    fill(image, panels);
    add_columns(panels, c.out_height * c.out_width, c.outputs, biases.data() + image * c.outputs);
    pad(x + image * c.height * c.width * c.channels, c.height, c.width, -c.pad_top, -c.pad_left, p, copy);
  };
  if (c.channels * c.outputs <= kOwnSums || grid.count() > kFramesTogether) {
    const long threads = least(pool.threads(), c.batch);
    const Parts groups(c.batch, (c.batch + threads - 1) / threads);
    const long room = 1 << 17, fit = room / kSpots / (c.channels + c.outputs);  // floats: half of a core's cache
    const long capacity = most(most(fit, kFramesAtOnce / 2), grid.across);
    Scratch sums(groups.parts * size);
    pool.each(groups.parts, [&](long group) {
      thread_local Scratch copies, packed, xs, dys;
      float* copy = copies.room(p.size());
      float* panels = packed.room(panels_each);
      float* sum = sums.data() + group * size;
      const Pairs pairs(c, capacity, xs, dys);
      long held = 0;
      bool fresh = true;
      const auto flush = [&] {
        for (long place = 0; place < spots; ++place) pairs.add(place, held, fresh, sum);
        held = 0, fresh = false;
      };
      for (long image = groups.begin(group); image < groups.begin(group + 1); ++image) {
        ready(image, copy, panels);
        for (long row = 0, down; row < grid.down; row += down) {
          if (held + grid.across > capacity) flush();
          down = least(grid.down - row, (capacity - held) / grid.across);
          pairs.take(copy, panels, row, down, held);
          held += down * grid.across;
        }
      }
      flush();
    });
    transform_back(pool, c, sums.data(), groups.parts, size, dw);
  } else {
    Scratch xs, dys, sums(size);
    const Parts chunks(c.batch, most(kFramesTogether / grid.count(), 1));
    const Pairs pairs(c, chunks.largest() * grid.count(), xs, dys);
    for (long chunk = 0; chunk < chunks.parts; ++chunk) {
      pool.each(chunks.size(chunk), [&](long i) {
        thread_local Scratch copies, packed;
        float* copy = copies.room(p.size());
        float* panels = packed.room(panels_each);
        ready(chunks.begin(chunk) + i, copy, panels);
        pairs.take(copy, panels, 0, grid.down, i * grid.count());
      });
      pool.each(spots, [&](long place) {
        pairs.add(place, chunks.size(chunk) * grid.count(), chunk == 0, sums.data());
      });
    }
    transform_back(pool, c, sums.data(), 1, size, dw);
  }
  std::memset(db, 0, static_cast<size_t>(c.outputs) * 4);
  for (long image = 0; image < c.batch; ++image)
    for (long o = 0; o < c.outputs; ++o) db[o] += biases.data()[image * c.outputs + o];
}
