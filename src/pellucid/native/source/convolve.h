// Convolution over channels-last images, forward and backward, as sums in registers over the image itself: no shifted
// copies are laid out but of one image with its padding, which stays in the processor's cache.

constexpr int kTileColumns = 2 * kLanes;  // outputs in one register tile
constexpr long kFewChannels = 8;          // below it the gradient of w takes taps together that lie apart
constexpr long kFewStops = 128;           // below it several images go into one tile's sum for the gradient of w
constexpr long kNarrow = kTileRows / 2;   // below this width of the output windows are laid out, for rows are too short

// One image with zeros around it: [height, width, channels].
struct Padded {
  long height, width, channels;
  long row() const { return width * channels; }
  long size() const { return height * row(); }
};

// How large an image has to be for every window to lie within it.
inline Padded padded(const Convolution& c, long out_rows) {
  return {(out_rows - 1) * c.stride_rows + (c.rows - 1) * c.dilation_rows + 1,
          (c.out_width - 1) * c.stride_columns + (c.columns - 1) * c.dilation_columns + 1, c.channels};
}

// Copies the rows of `image` [height, width, channels] from `top` on (which may lie outside) into `to`, zeros outside.
inline void pad(const float* image, long height, long width, long top, long left, const Padded& p, float* to) {
  for (long i = 0; i < p.height; ++i, to += p.row()) {
    const long from = top + i;
    if (from < 0 || from >= height) {
      std::memset(to, 0, static_cast<size_t>(p.row()) * 4);
      continue;
    }
    const long before = left < 0 ? (-left < p.width ? -left : p.width) : 0;
    const long first = left < 0 ? 0 : left;
    long n = width - first < p.width - before ? width - first : p.width - before;
    n = n < 0 ? 0 : n;
    std::memset(to, 0, static_cast<size_t>(before * p.channels) * 4);
    std::memcpy(to + before * p.channels, image + (from * width + first) * p.channels,
                static_cast<size_t>(n * p.channels) * 4);
    std::memset(to + (before + n) * p.channels, 0, static_cast<size_t>((p.width - before - n) * p.channels) * 4);
  }
}

// Where in a padded image the k-th factor of a window's sum lies, k = (u, v, c) counted in that order.
inline void offsets(const Convolution& c, const Padded& p, int* to) {
  for (long u = 0; u < c.rows; ++u)
    for (long v = 0; v < c.columns; ++v)
      for (long n = 0; n < c.channels; ++n)
        *to++ = static_cast<int>(u * c.dilation_rows * p.row() + v * c.dilation_columns * p.channels + n);
}

// The windows of a padded image side by side: [stops, taps].
inline void lay_out(const float* image, const int* stop, long stops, const int* tap, long taps, float* to) {
  for (long s = 0; s < stops; ++s, to += taps)
    for (long m = 0; m < taps; ++m) to[m] = image[stop[s] + tap[m]];
}

// y = windows of the padded image times packed w [panels][taps][kTileColumns], for `out_rows` rows of the output.
inline void slide(const Convolution& c, const Padded& p, const float* image, const int* at, const float* panels,
                  const float* bias, long out_rows, float* y) {
  const long taps = c.rows * c.columns * c.channels;
  const Parts across(c.out_width, kTileRows);
  for (long o = 0; o < c.outputs; o += kTileColumns) {
    const float* panel = panels + o * taps;
    const long n = c.outputs - o;
    const Vec first[2] = {bias == nullptr ? Vec{} : load_some(bias + o, n),
                          bias == nullptr ? Vec{} : load_some(bias + o + kLanes, n - kLanes)};
    for (long i = 0; i < out_rows; ++i) {
      for (long part = 0; part < across.parts; ++part) {
        const long j = across.begin(part);
        const float* from = image + i * c.stride_rows * p.row() + j * c.stride_columns * c.channels;
        float* to = y + (i * c.out_width + j) * c.outputs + o;
        with_rows<kTileRows>(across.size(part), [&](auto rows) {
          constexpr int kRows = decltype(rows)::value;
          Vec sums[kRows][2];
          for (int r = 0; r < kRows; ++r) sums[r][0] = first[0], sums[r][1] = first[1];
          multiply(sums, taps, from, c.stride_columns * c.channels, [&](long k) { return at[k]; }, panel, kTileColumns);
          for (int r = 0; r < kRows; ++r) {
            store_some(to + r * c.outputs, sums[r][0], n);
            store_some(to + r * c.outputs + kLanes, sums[r][1], n - kLanes);
          }
        });
      }
    }
  }
}

inline long panel_columns(long outputs) { return (outputs + kTileColumns - 1) / kTileColumns * kTileColumns; }

// What a convolution reads: image i, dense [height, width, channels]. It may be put together in the reader's own room.
struct Plainly {
  const float* x;
  long size;
  const float* operator()(long image) const { return x + image * size; }
};

// Where a convolution writes: rows of the output, counted through all images. `unit`: no image's rows are parted but
// after a multiple of so many. `done` is told when a band of rows is written.
struct Straight {
  static constexpr long unit = 1;
  float* y;
  long row;  // floats
  float* place(long first, long) const { return y + first * row; }
  void done(long, long, const float*) const {}
};

// The same for narrow images, several at once, whose windows are laid out first: else a tile would have too few rows.
template <typename Source, typename Sink>
inline void slide_narrow(Parallel& pool, const Convolution& c, const Source& source, const float* panels,
                         const float* bias, const Sink& sink) {
  const Padded p = padded(c, c.out_height);
  const long taps = c.rows * c.columns * c.channels, stops = c.out_height * c.out_width;
  Convolution flat = c;  // one image whose places are the stops, with a window of one place
  flat.channels = taps, flat.rows = flat.columns = 1, flat.stride_rows = flat.stride_columns = 1, flat.out_height = 1;
  Scratch tables(2 * taps + stops);
  int* tap = reinterpret_cast<int*>(tables.data());
  int* one = tap + taps;
  int* stop = one + taps;
  offsets(c, p, tap);
  for (long k = 0; k < taps; ++k) one[k] = static_cast<int>(k);
  for (long s = 0; s < stops; ++s)
    stop[s] = static_cast<int>(s / c.out_width * c.stride_rows * p.row() +
                               s % c.out_width * c.stride_columns * p.channels);
  const long wanted = (4 * kTileRows + stops - 1) / stops, share = (c.batch + pool.threads() - 1) / pool.threads();
  const Parts blocks(c.batch, wanted < share ? wanted : (share > 0 ? share : 1));
  pool.each(blocks.parts, [&](long block) {
    thread_local Scratch room, windows;
    const long first = blocks.begin(block), count = blocks.size(block);
    float* copy = room.room(p.size());
    float* rows = windows.room(count * stops * taps);
    for (long i = 0; i < count; ++i) {
      pad(source(first + i), c.height, c.width, -c.pad_top, -c.pad_left, p, copy);
      lay_out(copy, stop, stops, tap, taps, rows + i * stops * taps);
    }
    Convolution here = flat;
    here.out_width = count * stops;
    const long row = first * c.out_height, height = count * c.out_height;
    float* y = sink.place(row, height);
    slide(here, {1, count * stops, taps}, rows, one, panels, bias, 1, y);
    sink.done(row, height, y);
  });
}

// Images, and where there are fewer than threads could use also bands of their rows, are shared out. most: rows in a
// band, at most.
template <typename Source, typename Sink>
inline void convolve_packed(Parallel& pool, const Convolution& c, const Source& source, const float* panels,
                            const float* bias, const Sink& sink, long most) {
  if (c.out_width < kNarrow && c.channels > 1) return slide_narrow(pool, c, source, panels, bias, sink);
  const long want = 2L * pool.threads(), units = (c.out_height + sink.unit - 1) / sink.unit;
  long bands = c.batch >= want ? 1 : (want + c.batch - 1) / (c.batch > 0 ? c.batch : 1);
  bands = bands < units ? bands : units;
  if (pool.threads() == 1) bands = 1;
  const long even = (units + bands - 1) / bands, bound = most / sink.unit;
  const Parts cut(units, bound < 1 ? 1 : (even < bound ? even : bound));
  const long taps = c.rows * c.columns * c.channels;
  const Padded whole = padded(c, c.out_height);
  Scratch table(taps);
  int* at = reinterpret_cast<int*>(table.data());
  offsets(c, whole, at);  // the same for all bands: the width is
  pool.each(c.batch * cut.parts, [&](long i) {
    thread_local Scratch room;
    const long image = i / cut.parts, part = i % cut.parts, first = cut.begin(part) * sink.unit;
    const long last = cut.begin(part + 1) * sink.unit, rows = (last < c.out_height ? last : c.out_height) - first;
    const Padded p = padded(c, rows);
    const float* from = source(image);
    const float* ready = from;
    if (c.pad_top != 0 || c.pad_left != 0 || p.width != c.width || whole.height > c.height) {
      float* copy = room.room(p.size());
      pad(from, c.height, c.width, first * c.stride_rows - c.pad_top, -c.pad_left, p, copy);
      ready = copy;
    } else {
      ready = from + first * c.stride_rows * p.row();
    }
    const long row = image * c.out_height + first;
    float* y = sink.place(row, rows);
    slide(c, p, ready, at, panels, bias, rows, y);
    sink.done(row, rows, y);
  });
}

// With larger strides: at each place of the window dy·w' is added to the image, row by row of the output.
template <typename Source>
inline void convolve_dx_strided(Parallel& pool, const Convolution& c, const Source& dy, const float* w, float* dx) {
  const Padded p = padded(c, c.out_height);
  const long places = c.rows * c.columns, width = panel_columns(c.channels);
  Scratch panels(places * c.outputs * width);
  for (long place = 0; place < places; ++place)
    pack(w + place * c.channels * c.outputs, c.outputs, c.channels, 1, c.outputs, kTileColumns,
         panels.data() + place * c.outputs * width);
  const Parts across(c.out_width, kTileRows);
  pool.each(c.batch, [&](long image) {
    thread_local Scratch room;
    // a tile's last vectors may reach beyond the image's last channel; they are added to, not beyond the room
    float* sum = room.room(p.size());
    std::memset(sum, 0, static_cast<size_t>(p.size()) * 4);
    const float* from = dy(image);
    for (long place = 0; place < places; ++place) {
      const long down = place / c.columns * c.dilation_rows, along = place % c.columns * c.dilation_columns;
      const long shift = down * p.row() + along * p.channels;
      for (long n = 0; n < c.channels; n += kTileColumns) {
        const float* panel = panels.data() + place * c.outputs * width + n * c.outputs;
        for (long i = 0; i < c.out_height; ++i)
          for (long part = 0; part < across.parts; ++part) {
            const long j = across.begin(part);
            float* to = sum + shift + i * c.stride_rows * p.row() + j * c.stride_columns * p.channels + n;
            with_rows<kTileRows>(across.size(part), [&](auto rows) {
              constexpr int kRows = decltype(rows)::value;
              Vec sums[kRows][2] = {};
              multiply(sums, c.outputs, from + (i * c.out_width + j) * c.outputs, c.outputs,
                       [](long k) { return k; }, panel, kTileColumns);
              for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < 2; ++v) {
                  float* at = to + r * c.stride_columns * p.channels + v * kLanes;
                  const long left = c.channels - n - v * kLanes;
                  store_some(at, load_some(at, left) + sums[r][v], left);
                }
            });
          }
      }
    }
    float* to = dx + image * c.height * c.width * c.channels;
    for (long i = 0; i < c.height; ++i)  // what lies under no window has no gradient
      for (long j = 0; j < c.width; ++j, to += c.channels) {
        const long y = i + c.pad_top, z = j + c.pad_left;
        if (y < p.height && z < p.width)
          std::memcpy(to, sum + y * p.row() + z * p.channels, static_cast<size_t>(p.channels) * 4);
        else
          std::memset(to, 0, static_cast<size_t>(p.channels) * 4);
      }
  });
}

// Some images whose windows' factors lie at from + image * each + stop(s) + at(m), for stop s and tap m.
struct Images {
  long count, stops, outputs;
  const float* from;
  long each;
  const float* panels;  // dy: [image][panels][stops][kTileColumns]
  long panels_each;
};

// dw [taps, outputs] += windows' * dy of these images. Taps that lie side by side in the image go together; where they
// are few (`scattered`), any go together, each with an offset of its own.
template <typename Stops>
inline void add_dw(const Convolution& c, const Images& all, Stops stop, const int* tap, bool scattered, float* dw) {
  const long outputs = all.outputs, taps = c.rows * c.columns * c.channels, run = scattered ? taps : c.channels;
  const auto add = [&](auto rows, long m, long o, auto row) {
    constexpr int kRows = decltype(rows)::value;
    Vec sums[kRows][2] = {};
    for (long i = 0; i < all.count; ++i)
      multiply_rows(sums, all.stops, all.from + i * all.each + tap[m], row, stop,
                    all.panels + i * all.panels_each + o * all.stops, kTileColumns);
    float* to = dw + m * outputs + o;
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < 2; ++v) {
        float* at = to + r * outputs + v * kLanes;
        const long left = outputs - o - v * kLanes;
        store_some(at, load_some(at, left) + sums[r][v], left);
      }
  };
  const Parts down(run, kTileRows);
  for (long first = 0; first < taps; first += run)
    for (long o = 0; o < outputs; o += kTileColumns)
      for (long part = 0; part < down.parts; ++part) {
        const long m = first + down.begin(part);
        with_rows<kTileRows>(down.size(part), [&](auto rows) {
          if (!scattered) return add(rows, m, o, [](int r) { return r; });
          int from[decltype(rows)::value];
          for (int r = 0; r < decltype(rows)::value; ++r) from[r] = tap[m + r] - tap[m];
          add(rows, m, o, [&](int r) { return from[r]; });
        });
      }
}

// dy of an image as panels [panels][stops][kTileColumns], from an array.
struct Packed {
  const Convolution& c;
  const float* dy;
  void operator()(long image, float* panels) const {
    const long stops = c.out_height * c.out_width;
    pack(dy + image * stops * c.outputs, stops, c.outputs, c.outputs, 1, kTileColumns, panels);
  }
};

// bias[o] += the sums of the panels' columns.
inline void add_columns(const float* panels, long stops, long outputs, float* bias) {
  for (long o = 0; o < outputs; o += kTileColumns) {
    const long n = outputs - o;
    Vec sums[2] = {load_some(bias + o, n), load_some(bias + o + kLanes, n - kLanes)};
    for (long s = 0; s < stops; ++s, panels += kTileColumns)
      sums[0] += load(panels), sums[1] += load(panels + kLanes);
    store_some(bias + o, sums[0], n), store_some(bias + o + kLanes, sums[1], n - kLanes);
  }
}

template <typename Panels>
inline void convolve_dw_plainly(Parallel& pool, const Convolution& c, const float* x, const Panels& fill, float* dw,
                                float* db) {
  const long taps = c.rows * c.columns * c.channels, stops = c.out_height * c.out_width, size = taps * c.outputs;
  std::memset(dw, 0, static_cast<size_t>(size) * 4);
  std::memset(db, 0, static_cast<size_t>(c.outputs) * 4);
  if (c.batch == 0) return;
  const Padded p = padded(c, c.out_height);
  Scratch tables(taps + stops);
  int* tap = reinterpret_cast<int*>(tables.data());
  int* stop = tap + taps;
  offsets(c, p, tap);
  for (long i = 0; i < c.out_height; ++i)
    for (long j = 0; j < c.out_width; ++j)
      stop[i * c.out_width + j] = static_cast<int>(i * c.stride_rows * p.row() + j * c.stride_columns * p.channels);
  // every group of images has a sum of its own; the groups follow from the numbers alone
  const long most = pool.threads() < c.batch ? pool.threads() : c.batch;
  const Parts groups(c.batch, (c.batch + most - 1) / most);
  const long at_once = stops < kFewStops ? kFewStops / stops : 1;  // so that a tile's sum is worth its addition to dw
  Scratch sums(groups.parts * (size + c.outputs));
  pool.each(groups.parts, [&](long group) {
    thread_local Scratch room, packed;
    float* sum = sums.data() + group * (size + c.outputs);
    float* bias = sum + size;
    std::memset(sum, 0, static_cast<size_t>(size + c.outputs) * 4);
    const long panels_each = stops * panel_columns(c.outputs);
    const Parts blocks(groups.size(group), at_once);
    for (long block = 0; block < blocks.parts; ++block) {
      const long first = groups.begin(group) + blocks.begin(block), count = blocks.size(block);
      float* panels = packed.room(count * panels_each);
      float* copies = room.room(count * p.size());
      for (long i = 0; i < count; ++i) {
        fill(first + i, panels + i * panels_each);
        add_columns(panels + i * panels_each, stops, c.outputs, bias);
        const float* from = x + (first + i) * c.height * c.width * c.channels;
        pad(from, c.height, c.width, -c.pad_top, -c.pad_left, p, copies + i * p.size());
      }
      const Images all = {count, stops, c.outputs, copies, p.size(), panels, panels_each};
      add_dw(c, all, [&](long s) { return stop[s]; }, tap, c.channels < kFewChannels, sum);
    }
  });
  for (long group = 0; group < groups.parts; ++group) {
    const float* sum = sums.data() + group * (size + c.outputs);
    for (long i = 0; i < size; ++i) dw[i] += sum[i];
    for (long o = 0; o < c.outputs; ++o) db[o] += sum[size + o];
  }
}
