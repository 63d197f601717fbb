// Whole updates of a dense network, one after the other: batch gathered and standardised, forward, loss, backward, and
// every weight moved as soon as its gradient is summed, which so never goes through memory; of batches of more rows than
// a block, the gradients of the blocks before the last do.
//
// Weights are kept in panels of kTileColumns columns while the steps go on. A thread finds its panels again in its own
// cache at the next step, where `Parallel` gives it the same tasks. Every sum is taken whole by one task, in the order
// of its terms, so that results do not depend on the number of threads.

constexpr long kMovedAtHome = 1 << 18;  // weights whose moments are kept in panels too: they stay in the caches
constexpr long kBlockRows = 1024;  // so many rows of a batch go forward and back, in the caches, before the next do
constexpr long kRowsForTiles = 8;  // from so many on, the way back through a layer is a product of tiles

inline long padded(long n) { return up(n, kTileColumns) + 16; }  // an odd number of cache lines from row to row

struct Share {
  long layer, panel, begin, end;  // inputs
};

struct DenseWork {
  const DenseSteps& s;
  Parallel& pool;
  long width_of(long l) const { return s.widths[l]; }
  using Arrays = std::unique_ptr<Scratch[]>;
  Arrays w, m, v;       // by layer: panels of the weights and, of small networks, of their moments
  Arrays wt, x, dz;     // panels of the transpose, outputs [batch, padded], their gradients
  Scratch mean, inverse, loss;
  Scratch x_next[2];  // of the next example: what arrives, and the first layer's outputs
  Arrays z, dy;       // of measured steps: outputs before they are bent, and the gradient of what they are bent to
  std::unique_ptr<WeightSample[]> samples;  // of w and b in turn
  Arrays looks;                             // samples of what is watched: of an output and its gradient in turn
  Arrays sums;            // of large batches: the gradients of the weights, as panels, and of the bias behind them
  long block;             // rows that are under way at a time
  long base = 0, all = 0;  // of this block: its first row in the batch; the batch's rows
  bool begun = false, ends = true;  // whether `sums` hold earlier blocks' gradients, and whether this is the last one
  bool measured = false;  // this step
  bool at_home = false;
  bool ahead = false;  // whether x has these already
  std::unique_ptr<Share[]> shares;  // of the weights: a task each
  long tasks = 0;

  DenseWork(const DenseSteps& s, Parallel& pool)
      : s(s), pool(pool), w(new Scratch[s.layers + 1]), m(new Scratch[s.layers + 1]), v(new Scratch[s.layers + 1]),
        wt(new Scratch[s.layers + 1]), x(new Scratch[s.layers + 1]), dz(new Scratch[s.layers + 1]),
        z(new Scratch[s.layers + 1]), dy(new Scratch[s.layers + 1]), samples(new WeightSample[2 * s.layers]),
        sums(new Scratch[s.layers + 1]), block(least(s.batch, kBlockRows)) {
    long weights = 0;
    for (long l = 1; l <= s.layers; ++l) weights += width_of(l - 1) * width_of(l);
    at_home = weights <= kMovedAtHome;
    for (long l = 0; l <= s.layers; ++l) {
      zeroed(x[l], block * padded(width_of(l)));
      if (l == 0) continue;
      zeroed(dz[l], block * padded(width_of(l)));
      const long n = panels(l) * width_of(l - 1) * kTileColumns;
      zeroed(w[l], n);
      if (block < s.batch) zeroed(sums[l], n + padded(width_of(l)));
      if (at_home && s.m != nullptr) zeroed(m[l], n);
      if (at_home && s.v != nullptr) zeroed(v[l], n);
      if (l > 1 && s.batch >= kRowsForTiles) zeroed(wt[l], up(width_of(l - 1), kTileColumns) * width_of(l));
    }
    mean.room(width_of(0)), inverse.room(width_of(0)), loss.room(block);
    for (long i = 0; i < width_of(0) && s.mean != nullptr; ++i)
      mean.data()[i] = s.mean[i % s.means], inverse.data()[i] = 1.0f / s.scale[i % s.means];
    share_out();
    for (long l = 0; l < 2 && looks_ahead(); ++l) zeroed(x_next[l], padded(width_of(l)));
  }

  // Of single examples the first layer's weights are moved and used for the next example at once: they pass by once a
  // step, and not twice. The sums are the same, in the same order.
  bool looks_ahead() const {
    return s.batch == 1 && s.layers > 1 && s.rule == DenseRule::plain && panels(1) >= pool.threads();
  }

  // For each thread some of every layer's panels, the same ones that it has on the way forward.
  void share_out() {
    const auto down = [&](long l) { return cut(l, width_of(l - 1)); };
    for (long l = 1; l <= s.layers; ++l) tasks += panels(l) * down(l).parts;
    shares.reset(new Share[tasks]);
    Share* next = shares.get();
    for (long t = 0; t < pool.threads(); ++t)
      for (long l = 1; l <= s.layers; ++l) {
        const Parts cut = down(l);
        const long n = panels(l) * cut.parts;
        for (long i = n * t / pool.threads(); i < n * (t + 1) / pool.threads(); ++i)
          *next++ = {l, i / cut.parts, cut.begin(i % cut.parts), cut.begin(i % cut.parts + 1)};
      }
  }

  static void zeroed(Scratch& a, long n) { std::memset(a.room(n), 0, static_cast<size_t>(n) * sizeof(float)); }
  long panels(long l) const { return up(width_of(l), kTileColumns) / kTileColumns; }
  float* panel(long l, long p, Arrays& of) { return of[l].data() + p * width_of(l - 1) * kTileColumns; }
  float* panel(long l, long p) { return panel(l, p, w); }

  // panels <- weights and moments, or back
  void pack(bool back) {
    for (long l = 1; l <= s.layers; ++l)
      pool.each(panels(l), [&](long p) {
        pack_panel(l, p, s.w[l - 1], w, back);
        if (at_home && s.m != nullptr) pack_panel(l, p, s.m[2 * (l - 1)], m, back);
        if (at_home && s.v != nullptr) pack_panel(l, p, s.v[2 * (l - 1)], v, back);
      });
  }
  void pack_panel(long l, long p, float* whole, Arrays& of, bool back) {
    const long first = p * kTileColumns;
    const size_t bytes = static_cast<size_t>(least(width_of(l) - first, kTileColumns)) * sizeof(float);
    float* to = panel(l, p, of);
    for (long i = 0; i < width_of(l - 1); ++i, to += kTileColumns) {
      float* own = whole + i * width_of(l) + first;
      back ? std::memcpy(own, to, bytes) : std::memcpy(to, own, bytes);
    }
  }

  // One update from `rows` examples, those of `order` or the first ones. Returns the sum of their losses.
  // next: the order of the next step, where neither of both is measured, else null.   segment: of a measured step, else
  // -1.
  float step(const int* order, const int* next, long rows, long t, long segment) {
    measured = segment >= 0, all = rows;
    const Parts blocks(rows, block);
    float sum = 0;
    for (long b = 0; b < blocks.parts; ++b) {
      base = blocks.begin(b), begun = b > 0, ends = b + 1 == blocks.parts;
      sum += step_of_block(order, next, blocks.size(b), t, segment);
    }
    return sum;
  }

  float step_of_block(const int* order, const int* next, long rows, long t, long segment) {
    if (!ahead) arrange(order, rows);
    for (long l = ahead ? 2 : 1; l < s.layers; ++l)
      each_panel(l, rows, [&](long p, long begin, long end) { forward(l, p, begin, end); });
    const Parts share(rows, most(kTileRows, (rows + 2 * pool.threads() - 1) / (2 * pool.threads())));
    pool.each(share.parts, [&](long part) { last(order, share.begin(part), share.begin(part + 1)); });
    for (long l = s.layers - 1; l > 1; --l)
      each_panel(l - 1, rows, [&](long p, long begin, long end) { backward(l, p, begin, end); });
    if (measured) tell_outputs(rows, segment);
    ahead = next != nullptr && looks_ahead();
    if (ahead) take_example(next[0], x_next[0].data());
    move_all(rows, t);
    if (measured && ends)
      pool.each(2 * s.layers, [&](long i) {
        if (samples[i].many > 0) samples[i].tell(s.rates[t], s.weights + (segment * 2 * s.layers + i) * 3);
      });
    for (long l = 0; l < 2 && ahead; ++l) x[l].swap(x_next[l]);
    float sum = 0;
    for (long i = 0; i < rows; ++i) sum += loss.data()[i];
    return sum;
  }

  // Calls body(panel of layer l's outputs, first row, row behind the last) for all of them.
  template <typename Body>
  void each_panel(long l, long rows, Body body) {
    const Parts share = cut(l, rows);
    pool.each(panels(l) * share.parts, [&](long task) {
      const long part = task % share.parts;
      body(task / share.parts, share.begin(part), share.begin(part + 1));
    });
  }

  // n rows in parts, so that there are as many tasks as threads where layer l has fewer panels
  Parts cut(long l, long n) const {
    const long cuts = most(1, (pool.threads() + panels(l) - 1) / panels(l));
    return Parts(n, most(kTileRows, (n + cuts - 1) / cuts));
  }

  void arrange(const int* order, long rows) {
    const long to = padded(width_of(0));
    const Parts share(rows, most(1, least((rows + pool.threads() - 1) / pool.threads(), 64)));
    long turns = 0;
    if (s.batch >= kRowsForTiles && !begun)
      for (long l = 2; l <= s.layers; ++l) turns += panels(l);
    pool.each(share.parts + turns, [&](long task) {
      if (task >= share.parts) {
        task -= share.parts;
        long l = 2;
        for (; task >= panels(l); ++l) task -= panels(l);
        return turn(l, task);
      }
      for (long i = share.begin(task); i < share.begin(task + 1); ++i)
        take_example(example(order, i), x[0].data() + i * to);
    });
  }

  // the place among all examples of row i of this block
  long example(const int* order, long i) const { return order == nullptr ? base + i : order[base + i]; }

  void take_example(long from, float* to) {
    const long n = width_of(0);
    if (s.bytes)
      take(static_cast<const unsigned char*>(s.x) + from * n, n, to);
    else
      take(static_cast<const float*>(s.x) + from * n, n, to);
  }

  static PELLUCID_INLINE Vec numbers(const float* p) { return load(p); }
  static PELLUCID_INLINE Vec numbers(const unsigned char* p) { return __builtin_convertvector(widened(p), Vec); }

  template <typename From>
  void take(const From* from, long n, float* to) {
    const float *m = mean.data(), *by = inverse.data();
    const bool plain = s.mean == nullptr;
    long j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      const Vec v = numbers(from + j);
      store(to + j, plain ? v : (v - load(m + j)) * load(by + j));
    }
    for (; j < n; ++j) to[j] = plain ? static_cast<float>(from[j]) : (static_cast<float>(from[j]) - m[j]) * by[j];
  }

  // The panels of the transpose, from panel p of layer l.
  void turn(long l, long p) {
    const long n = width_of(l - 1), count = least(width_of(l) - p * kTileColumns, kTileColumns);
    const float* from = panel(l, p);
    for (long first = 0; first < n; first += kTileColumns) {
      const long many = least(n - first, kTileColumns);
      float* to = wt[l].data() + first * width_of(l) + p * kTileColumns * kTileColumns;
      for (long c = 0; c < count; ++c, to += kTileColumns)
        for (long i = 0; i < many; ++i) to[i] = from[(first + i) * kTileColumns + c];
    }
  }

  // the slope, from what came out
  static PELLUCID_INLINE Vec slope(Vec y, Bend bend) {
    const Vec zero = {}, one = splat(1.0f);
    if (bend == Bend::relu) return y > zero ? one : zero;
    return bend == Bend::tanh ? one - y * y : bend == Bend::sigmoid ? y * (one - y) : one;
  }

  void forward(long l, long p, long begin, long end) {
    const long n = width_of(l - 1), from = padded(n), to = padded(width_of(l)), o = p * kTileColumns;
    const long left = width_of(l) - o;
    const Bend bend = s.bends[l - 1];
    const float *bias = s.b[l - 1], *given = x[l - 1].data();
    Vec first[2];
    load_bias(first, bias, o, left);
    if (end - begin == 1) {
      Vec sums[2] = {first[0], first[1]};
      const float* w = panel(l, p);
      one_row(sums, n, given + begin * from, [=](long k, int j) { return load(w + k * kTileColumns + j * kLanes); });
      for (int j = 0; j < 2; ++j) {
        if (measured) store(z[l].data() + begin * to + o + j * kLanes, sums[j]);
        store(x[l].data() + begin * to + o + j * kLanes, bent(sums[j], bend));
      }
      return;
    }
    in_tiles(end - begin, left, [&](long row, auto many, auto vectors) {
      constexpr int kRows = decltype(many)::value, kVectors = decltype(vectors)::value;
      const long m = begin + row;
      Vec sums[kRows][kVectors];
      for (int r = 0; r < kRows; ++r)
        for (int j = 0; j < kVectors; ++j) sums[r][j] = first[j];
      multiply(sums, n, given + m * from, from, [](long k) { return k; }, panel(l, p), kTileColumns);
      float *y = x[l].data() + m * to + o, *unbent = measured ? z[l].data() + m * to + o : nullptr;
      for (int r = 0; r < kRows; ++r)
        for (int j = 0; j < kVectors; ++j) {
          if (unbent != nullptr) store(unbent + r * to + j * kLanes, sums[r][j]);
          store(y + r * to + j * kLanes, bent(sums[r][j], bend));
        }
    });
  }

  // Calls body(first row, how many, vectors of columns) for tiles of a panel of which `left` columns count.
  template <typename Body>
  static PELLUCID_INLINE void in_tiles(long rows, long left, Body body) {
    const Parts down(rows, kTileRows);
    const auto of = [&](auto vectors) {
      for (long d = 0; d < down.parts; ++d)
        with_rows<kTileRows>(down.size(d), [&](auto many) { body(down.begin(d), many, vectors); });
    };
    left <= kLanes ? of(Count<1>{}) : of(Count<2>{});
  }

  // sums += a[n] times the rows of a panel, in as many chains as keep the processor busy; use(k, j): a row's vector
  template <typename Use>
  static PELLUCID_INLINE void one_row(Vec (&sums)[2], long n, const float* a, Use use) {
    constexpr int kChains = 6;
    Vec more[kChains][2] = {};
    long k = 0;
    for (; k + kChains <= n; k += kChains)
      for (int c = 0; c < kChains; ++c)
        for (int j = 0; j < 2; ++j) more[c][j] += splat(a[k + c]) * use(k + c, j);
    for (; k < n; ++k)
      for (int j = 0; j < 2; ++j) more[0][j] += splat(a[k]) * use(k, j);
    for (int c = 0; c < kChains; ++c)
      for (int j = 0; j < 2; ++j) sums[j] += more[c][j];
  }

  // Of some rows: the last layer, the loss, its gradient, and the way back through the last layer.
  void last(const int* order, long begin, long end) {
    const long l = s.layers, n = width_of(l), to = padded(n);
    for (long p = 0; p < panels(l); ++p) forward(l, p, begin, end);
    for (long i = begin; i < end; ++i) {
      const long at = example(order, i);
      const float *z = x[l].data() + i * to, share = 1.0f / static_cast<float>(all);
      float* slope = dz[l].data() + i * to;
      if (s.loss == DenseLoss::cross_entropy) {
        loss.data()[i] = cross_entropy(z, n, static_cast<const int*>(s.y)[at], s.smoothing, share, slope);
      } else {
        const float* y = static_cast<const float*>(s.y) + at * n;
        loss.data()[i] = s.loss == DenseLoss::binary ? binary(z, n, y, s.smoothing, share, slope)
                                                     : squares(z, n, y, share, slope);
      }
    }
    if (l == 1) return;
    for (long p = 0; p < panels(l - 1); ++p) backward(l, p, begin, end);
  }

  // smoothing: the part of a label that all classes share
  static float cross_entropy(const float* z, long n, long label, float smoothing, float share, float* slope) {
    Vec high = splat(-__builtin_inff()), sums = {}, scores = {};
    for (long j = 0; j < n; j += kLanes) {
      const Vec v = filled(load(z + j), n - j, -__builtin_inff());
      high = ((v > high) | (v != v)) ? v : high;
      scores += filled(v, n - j, 0.0f);
    }
    const float top = across(high, [](Vec a, Vec b) { return ((b > a) | (b != b)) ? b : a; });
    for (long j = 0; j < n; j += kLanes) {
      const Vec e = filled(exponential(load(z + j) - top), n - j, 0.0f);
      store(slope + j, e);
      sums += e;
    }
    const float sum = total(sums);
    if (label < 0 || label >= n) {  // a class that is none: no loss, no gradient
      for (long j = 0; j < n; ++j) slope[j] = 0;
      return 0;
    }
    const float by = share / sum, each = smoothing / static_cast<float>(n);
    for (long j = 0; j < n; j += kLanes) store(slope + j, filled(load(slope + j) * by - share * each, n - j, 0.0f));
    slope[label] -= share * (1 - smoothing);
    const float wanted = smoothing == 0 ? z[label] : (1 - smoothing) * z[label] + each * total(scores);
    return top + __builtin_logf(sum) - wanted;
  }

  static float squares(const float* z, long n, const float* y, float share, float* slope) {
    float sum = 0;
    for (long j = 0; j < n; ++j) {
      const float off = z[j] - y[j];
      sum += off * off, slope[j] = 2 * off * share / n;
    }
    return sum / n;
  }

  static float binary(const float* z, long n, const float* y, float smoothing, float share, float* slope) {
    float sum = 0;
    for (long j = 0; j < n; ++j) {
      const float wanted = y[j] * (1 - smoothing) + smoothing / 2, e = __builtin_expf(-__builtin_fabsf(z[j]));
      const float p = z[j] > 0 ? 1 / (1 + e) : z[j] < 0 ? e / (1 + e) : z[j] + 0.5f;  // of a NaN a NaN
      sum += (z[j] > 0 ? z[j] : 0) - z[j] * wanted + __builtin_log1pf(e);
      slope[j] = (p - wanted) * share / n;
    }
    return sum / n;
  }

  static PELLUCID_INLINE Vec filled(Vec v, long left, float with) {
    if (left >= kLanes) return v;
    IntVec lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    return lane < static_cast<int>(left) ? v : splat(with);
  }

  // dz of layer l - 1, of the inputs of one panel
  void backward(long l, long p, long begin, long end) {
    const long n = width_of(l), from = padded(n), to = padded(width_of(l - 1)), i = p * kTileColumns;
    const Bend bend = s.bends[l - 2];
    if (s.batch < kRowsForTiles) return backward_few(l, i, begin, end);
    const float* panel = wt[l].data() + i * n;
    const Parts down(end - begin, kTileRows);
    for (long d = 0; d < down.parts; ++d) {
      const long m = begin + down.begin(d);
      with_rows<kTileRows>(down.size(d), [&](auto many) {
        constexpr int kRows = decltype(many)::value;
        Vec sums[kRows][2] = {};
        multiply(sums, n, dz[l].data() + m * from, from, [](long k) { return k; }, panel, kTileColumns);
        const float* y = x[l - 1].data() + m * to + i;
        float *out = dz[l - 1].data() + m * to + i, *unbent = measured ? dy[l - 1].data() + m * to + i : nullptr;
        for (int r = 0; r < kRows; ++r)
          for (int j = 0; j < 2; ++j) {
            if (unbent != nullptr) store(unbent + r * to + j * kLanes, sums[r][j]);
            store(out + r * to + j * kLanes, sums[r][j] * slope(load(y + r * to + j * kLanes), bend));
          }
      });
    }
  }

  void backward_few(long l, long first, long begin, long end) {
    const long n = width_of(l - 1), from = padded(width_of(l)), to = padded(n), many = least(n - first, kTileColumns);
    for (long m = begin; m < end; ++m) {
      float* out = dz[l - 1].data() + m * to + first;
      const float* g = dz[l].data() + m * from;
      for (long i = 0; i < many; ++i) out[i] = back_to(l, first + i, g);
      if (measured) std::memcpy(dy[l - 1].data() + m * to + first, out, static_cast<size_t>(many) * sizeof(float));
      const float* y = x[l - 1].data() + m * to + first;
      for (int j = 0; j < 2; ++j)
        store(out + j * kLanes, load(out + j * kLanes) * slope(load(y + j * kLanes), s.bends[l - 2]));
    }
  }

  // The gradient of one input of layer l, from that of the layer's outputs g.
  float back_to(long l, long input, const float* g) {
    Vec sums[2] = {};
    for (long p = 0; p < panels(l); ++p) {
      const float *slopes = g + p * kTileColumns, *w = panel(l, p) + input * kTileColumns;
      for (int j = 0; j < 2; ++j) sums[j] += load(slopes + j * kLanes) * load(w + j * kLanes);
    }
    return total(sums[0] + sums[1]);
  }

  // -- what a measured step tells

  void begin_to_tell() {
    for (long l = 1; l <= s.layers && s.watches > 0; ++l) {
      zeroed(z[l], block * padded(width_of(l))), zeroed(dy[l], block * padded(width_of(l)));
      samples[2 * l - 2].begin(width_of(l - 1) * width_of(l), s.every[2 * l - 2]);
      if (s.b[l - 1] != nullptr) samples[2 * l - 1].begin(width_of(l), s.every[2 * l - 1]);
    }
    looks.reset(new Scratch[2 * s.watches]);  // a task must not ask for memory: it could not say that there is none
    for (long i = 0; i < 2 * s.watches; ++i) {
      const Watched& at = s.watched[i / 2];
      looks[i].room(sampled(s.batch * width_of(at.layer), at.step));
    }
  }

  // Of the examples that there are: what a batch is filled up with elsewhere tells nothing.
  void tell_outputs(long rows, long segment) {
    pool.each(2 * s.watches, [&](long task) {
      const Watched& at = s.watched[task / 2];
      const long n = width_of(at.layer), apart = padded(n);
      float* const sample = looks[task].data();
      const auto from = [&](Scratch& array) {
        return take_sample(base, rows, n, at.step, sample, [&](long i, long j) { return array.data()[i * apart + j]; });
      };
      const bool bends = at.layer > 0 && at.layer < s.layers;  // else there is one array for both
      long many = 0;
      if (task % 2 == 0) {
        many = from(at.bent != 0 || !bends ? x[at.layer] : z[at.layer]);
      } else if (at.layer > 0) {
        many = from(at.bent != 0 && bends ? dy[at.layer] : dz[at.layer]);
      } else {
        many = take_sample(base, rows, n, at.step, sample,
                           [&](long i, long j) { return back_to(1, j, dz[1].data() + i * padded(width_of(1))); });
      }
      if (!ends) return;
      float* const to = task % 2 == 0 ? s.activation : s.gradient;
      moments(sample, many, to + (segment * s.watches + task / 2) * kFields);
    });
  }

  // -- moving the weights

  struct Rates {
    float rate, a, b;  // of this step; a and b undo Adam's start at 0
  };

  static PELLUCID_INLINE Vec root(Vec v) {
    float each[kLanes];
    store(each, v);
    for (int i = 0; i < kLanes; ++i) each[i] = __builtin_sqrtf(each[i]);
    return load(each);
  }

  // What is taken from the weights w at a rate of 1.
  template <DenseRule Rule>
  PELLUCID_INLINE Vec way(Vec w, Vec g, Vec& m, Vec& v, const Rates& r, bool matrix) const {
    const bool pulled = matrix && s.decay != 0;
    if (pulled && !s.decoupled) g += s.decay * w;
    Vec all = g;
    if constexpr (Rule == DenseRule::momentum || Rule == DenseRule::nesterov) {
      m = g + s.momentum * m;
      all = Rule == DenseRule::nesterov ? g + s.momentum * m : m;
    } else if constexpr (Rule == DenseRule::adam) {
      m = (1 - s.b1) * g + s.b1 * m;
      v = (1 - s.b2) * (g * g) + s.b2 * v;
      all = r.a * m / (root(v) + r.b * s.eps);
    }
    if (pulled && s.decoupled) all += s.decay * w;
    return all;
  }

  // Told: the step is measured, and `to` takes the sample; at: the place of the vector's first number in the array
  template <DenseRule Rule, bool Told>
  PELLUCID_INLINE void move(float* w, Vec g, float* m, float* v, long left, const Rates& r, bool matrix,
                            WeightSample* to, long at, long counted) const {
    constexpr bool kFirst = Rule != DenseRule::plain, kSecond = Rule == DenseRule::adam;
    Vec first = kFirst ? load_some(m, left) : Vec{}, second = kSecond ? load_some(v, left) : Vec{};
    const Vec was = matrix ? load(w) : load_some(w, left), goes = way<Rule>(was, g, first, second, r, matrix);
    const Vec now = was - r.rate * goes;  // rounded alike whether told or not
    if constexpr (Told) to->note(at, counted, g, goes, was);
    matrix ? store(w, now) : store_some(w, now, left);
    if (kFirst) store_some(m, first, left);
    if (kSecond) store_some(v, second, left);
  }

  // Weights of inputs [begin, end) in panel p of layer l; the bias with the first of them. They move with the last block
  // of a batch; before it their gradients so far go into `sums`.
  template <DenseRule Rule, bool Told>
  void move_some(long l, long p, long begin, long end, long rows, const Rates& r) {
    const long n = width_of(l), o = p * kTileColumns, left = n - o, from = padded(width_of(l - 1)), by = padded(n);
    const float* g = dz[l].data() + o;
    const float* const given = x[l - 1].data();
    float* const first = panel(l, p);
    float* const ms = Rule == DenseRule::plain ? nullptr : at_home ? panel(l, p, m) : s.m[2 * (l - 1)] + o;
    float* const vs = Rule != DenseRule::adam ? nullptr : at_home ? panel(l, p, v) : s.v[2 * (l - 1)] + o;
    const long apart = at_home ? kTileColumns : n, many = at_home ? kTileColumns : left;
    WeightSample* const told = &samples[2 * l - 2];
    const auto move_row = [&](long i, const auto& sums) {
      for (int j = 0; j < static_cast<int>(sizeof(sums) / sizeof(Vec)); ++j) {
        const long at = i * apart + j * kLanes;
        move<Rule, Told>(first + i * kTileColumns + j * kLanes, sums[j], ms + at, vs + at, many - j * kLanes, r, true,
                         told, i * n + o + j * kLanes, left - j * kLanes);
      }
    };
    if (Rule == DenseRule::plain && ahead && l == 1) return move_ahead(p, r);
    if (all == 1) {
      const Vec slope[2] = {load(g), load(g + kLanes)};
      for (long i = begin; i < end; ++i) {
        const Vec a = splat(given[i]), sums[2] = {rounded(a * slope[0]), rounded(a * slope[1])};
        move_row(i, sums);
      }
      return move_bias<Rule, Told>(l, p, begin, rows, r);
    }
    in_tiles(end - begin, left, [&](long row, auto many, auto vectors) {
      constexpr int kRows = decltype(many)::value, kVectors = decltype(vectors)::value;
      const long i = begin + row;
      Vec here[kRows][kVectors] = {};
      float* const kept = begun || !ends ? panel(l, p, sums) + i * kTileColumns : nullptr;
      for (int r = 0; r < kRows && begun; ++r)
        for (int j = 0; j < kVectors; ++j) here[r][j] = load(kept + r * kTileColumns + j * kLanes);
      multiply(here, rows, given + i, 1, [=](long k) { return k * from; }, g, by);
      for (int r = 0; r < kRows && ends; ++r) move_row(i + r, here[r]);
      for (int r = 0; r < kRows && !ends; ++r)
        for (int j = 0; j < kVectors; ++j) store(kept + r * kTileColumns + j * kLanes, here[r][j]);
    });
    move_bias<Rule, Told>(l, p, begin, rows, r);
  }

  // Moves a panel of the first layer, and gives the layer's outputs for the next example.
  void move_ahead(long p, const Rates& r) {
    const long o = p * kTileColumns, left = width_of(1) - o;
    const float *g = dz[1].data() + o, *now = x[0].data(), *next = x_next[0].data(), *bias = s.b[0];
    float* w = panel(1, p);
    move_bias<DenseRule::plain, false>(1, p, 0, 1, r);
    const Vec slope[2] = {load(g), load(g + kLanes)};
    Vec sums[2], none;
    load_bias(sums, bias, o, left);
    one_row(sums, width_of(0), next, [&](long k, int j) {
      float* at = w + k * kTileColumns + j * kLanes;
      const Vec was = load(at);
      const Vec moved_to = was - r.rate * way<DenseRule::plain>(was, splat(now[k]) * slope[j], none, none, r, true);
      store(at, moved_to);
      return moved_to;
    });
    for (int j = 0; j < 2; ++j) store(x_next[1].data() + o + j * kLanes, bent(sums[j], s.bends[0]));
  }

  // begin: the first input of a task, of which one has the bias
  template <DenseRule Rule, bool Told>
  void move_bias(long l, long p, long begin, long rows, const Rates& r) {
    if (begin > 0 || s.b[l - 1] == nullptr) return;
    const long n = width_of(l), o = p * kTileColumns, left = n - o, by = padded(n);
    const float* g = dz[l].data() + o;
    const bool kept = Rule != DenseRule::plain, twice = Rule == DenseRule::adam;
    for (int j = 0; j < 2 && left > j * kLanes; ++j) {
      const long at = o + j * kLanes;
      float* const so_far = begun || !ends ? panel(l, panels(l), sums) + at : nullptr;
      Vec sum = begun ? load(so_far) : Vec{};
      for (long k = 0; k < rows; ++k) sum += load(g + k * by + j * kLanes);
      if (!ends) {
        store(so_far, sum);
        continue;
      }
      move<Rule, Told>(s.b[l - 1] + at, sum, kept ? s.m[2 * l - 1] + at : nullptr,
                       twice ? s.v[2 * l - 1] + at : nullptr, left - j * kLanes, r, false, &samples[2 * l - 1], at,
                       left - j * kLanes);
    }
  }

  void move_all(long rows, long t) {
    const Rates r = {s.rates[t], s.rates[s.most + t], s.rates[2 * s.most + t]};
    switch (s.rule) {
      case DenseRule::plain: return move_as<DenseRule::plain>(rows, r);
      case DenseRule::momentum: return move_as<DenseRule::momentum>(rows, r);
      case DenseRule::nesterov: return move_as<DenseRule::nesterov>(rows, r);
      case DenseRule::adam: return move_as<DenseRule::adam>(rows, r);
    }
  }
  template <DenseRule Rule>
  void move_as(long rows, const Rates& r) {
    measured ? move_each<Rule, true>(rows, r) : move_each<Rule, false>(rows, r);
  }
  template <DenseRule Rule, bool Told>
  void move_each(long rows, const Rates& r) {
    pool.each(tasks, [&](long task) {
      const Share& own = shares[task];
      move_some<Rule, Told>(own.layer, own.panel, own.begin, own.end, rows, r);
    });
  }
};

void dense_steps(Parallel& pool, const DenseSteps& s) {
  DenseWork work(s, pool);
  const auto cleared = [](float* p, long n) { std::memset(p, 0, static_cast<size_t>(n) * sizeof(float)); };
  cleared(s.losses, s.most), cleared(s.weights, s.held * 2 * s.layers * 3);
  cleared(s.activation, s.held * s.watches * kFields), cleared(s.gradient, s.held * s.watches * kFields);
  work.begin_to_tell();
  work.pack(false);
  long t = 0;
  for (long i = 0; i < s.count; ++i) {
    const long plain = s.segments[2 * i], all = plain + (s.watches > 0 ? s.segments[2 * i + 1] : 0);
    for (long k = 0; k < all; ++k, ++t) {
      const long first = (s.position + t) * s.batch, rows = least(s.batch, s.examples - first);
      const int* order = s.order == nullptr ? nullptr : s.order + (first - s.skipped);
      const int* next = order != nullptr && k + 1 < plain ? order + s.batch : nullptr;
      const float sum = work.step(order, next, rows, t, k < plain ? -1 : i);
      s.losses[t] = sum / static_cast<float>(rows);
      s.sums[0] += sum, s.sums[1] += static_cast<float>(rows);
    }
  }
  work.pack(true);
  for (long i = 0; i < 2 * s.layers; ++i) {
    const long l = i / 2, n = i % 2 == 0 ? s.widths[l] * s.widths[l + 1] : s.widths[l + 1];
    const float* const a = i % 2 == 0 ? s.w[l] : s.b[l];
    s.squares[i] = a == nullptr ? 0 : sum_of_squares(pool, a, n);
  }
}
