// Recurrent layers over whole sequences, forward and backward. The rows of a batch never meet, so each thread takes some
// of them through all the steps, and threads wait for one another only at the end.

constexpr long kMostRows = 512;  // of a thread: what it holds of a step should stay in its cache

inline Parts shares(Parallel& pool, long batch) {
  const long each = (batch + pool.threads() - 1) / pool.threads();
  return Parts(batch, each < kMostRows ? (each > 0 ? each : 1) : kMostRows);
}


// u [width, gates * width] as panels [units / kLanes][width][gates][kLanes]: all gates of some units side by side.
inline void pack_gates(Parallel& pool, const float* u, long width, long gates, float* to) {
  const Parts share(up(width, kLanes) / kLanes, 4);
  pool.each(share.parts, [&](long part) {
    for (long block = share.begin(part); block < share.begin(part + 1); ++block) {
      const long first = block * kLanes, left = width - first;
      float* panel = to + first * width * gates;
      for (long k = 0; k < width; ++k)
        for (long g = 0; g < gates; ++g, panel += kLanes)
          store_some(panel, load_some(u + (k * gates + g) * width + first, left), kLanes);
    }
  });
}

inline long feedback_size(const Recurrence& s) { return up(s.width, kLanes) * s.width * s.gates(); }

template <Cell Kind>
struct Gates {
  static constexpr int count = Kind == Cell::lstm ? 4 : Kind == Cell::gru ? 3 : 1;
  // rows of a tile such that its sums, one vector a gate, fill the registers
  static constexpr int rows = kTileRows * 2 / count < kTileRows ? kTileRows * 2 / count : kTileRows;
};

// One step of `n` rows for the units of one panel. `at`: of these rows and units in [batch, width] arrays; `wide`: in
// [batch, gates * width] ones; `left`: how many units there are.
template <Cell Kind, int Rows>
PELLUCID_INLINE void step(const RecurrentForward& f, long width, long batch_row, long t_at, long t_wide, long unit,
                          const float* before, const float* c_before, const float* panel, const bool* valid) {
  constexpr int G = Gates<Kind>::count;
  const long left = width - unit;
  Vec sums[Rows][G];
  const float* z = f.z + t_wide + batch_row * G * width + unit;
  if constexpr (Kind == Cell::gru) {  // the proposal's feedback is kept apart, for the reset gate acts on it
    const Vec v = load_some(f.v + unit, left);
    for (int r = 0; r < Rows; ++r)
      for (int g = 0; g < G; ++g) sums[r][g] = g == 2 ? v : load_some(z + (r * G + g) * width, left);
  } else {
    for (int r = 0; r < Rows; ++r)
      for (int g = 0; g < G; ++g) sums[r][g] = load_some(z + (r * G + g) * width, left);
  }
  multiply(sums, width, before + batch_row * width, width, [](long k) { return k; }, panel, G * kLanes);
  for (int r = 0; r < Rows; ++r) {
    const long row = batch_row + r, at = t_at + row * width + unit;
    float* gates = f.gates == nullptr ? nullptr : f.gates + t_wide + row * G * width + unit;
    const bool real = valid == nullptr || valid[row];
    const Vec old = load_some(before + row * width + unit, left);
    Vec h;
    if constexpr (Kind == Cell::lstm) {
      const Vec i = sigmoid(sums[r][0]), forget = sigmoid(sums[r][1]), g = tanh(sums[r][2]), o = sigmoid(sums[r][3]);
      const Vec kept = load_some(c_before + row * width + unit, left);
      const Vec c = forget * kept + i * g;
      h = o * tanh(c);
      store_some(f.c + at, real ? c : kept, left);
      if (gates != nullptr) {
        store_some(gates, i, left), store_some(gates + width, forget, left);
        store_some(gates + 2 * width, g, left), store_some(gates + 3 * width, o, left);
      }
    } else if constexpr (Kind == Cell::gru) {
      const Vec reset = sigmoid(sums[r][0]), s = sigmoid(sums[r][1]), fed = sums[r][2];
      const Vec g = tanh(load_some(z + (r * G + 2) * width, left) + reset * fed);
      h = (1.0f - s) * g + s * old;
      if (f.fed != nullptr) store_some(f.fed + at, fed, left);
      if (gates != nullptr) {
        store_some(gates, reset, left), store_some(gates + width, s, left), store_some(gates + 2 * width, g, left);
      }
    } else {
      const Vec zero = {};
      h = Kind == Cell::tanh ? tanh(sums[r][0]) : (sums[r][0] < zero ? zero : sums[r][0]);
      if (gates != nullptr) store_some(gates, h, left);
    }
    store_some(f.h + at, real ? h : old, left);
  }
}

// Steps of which each is shared out, and begins when all of the one before is done. `mine` has a share of its own at
// each step, so that what it reads again lies in its cache; what another one has not begun, it takes over: nothing hangs
// where all shares are one thread's.
class Relay {
 public:
  explicit Relay(long shares)
      : shares_(shares), begun_(new std::atomic<long>[shares]), here_(new std::atomic<bool>[shares]) {
    for (long k = 0; k < shares; ++k) begun_[k] = 0, here_[k] = false;
  }

  template <typename Body>  // body(step, share)
  void run(long mine, long steps, Body body) {
    here_[mine] = true;
    for (long i = 0; i < steps; ++i) {
      for (long spin = 0; done_.load(std::memory_order_acquire) < i * shares_; ++spin) pause(spin);
      for (long k = 0; k < shares_; ++k) {
        const long share = (mine + k) % shares_;
        for (long spin = 0; k > 0 && spin < kPatience && here_[share] && begun_[share].load() <= i; ++spin) pause(spin);
        long expected = i;
        if (!begun_[share].compare_exchange_strong(expected, i + 1)) continue;
        body(i, share);
        done_.fetch_add(1, std::memory_order_release);
      }
    }
    here_[mine] = false;
  }

 private:
  static constexpr long kPatience = 4000;
  static void pause(long spin) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spin % 1024 == 1023) std::this_thread::yield();
  }
  const long shares_;
  std::unique_ptr<std::atomic<long>[]> begun_;  // steps, of each share
  std::unique_ptr<std::atomic<bool>[]> here_;
  std::atomic<long> done_{0};  // shares, of all steps
};

constexpr long kRelayPays = 1 << 15;  // products a step: with fewer, threads would wait longer than they work

template <Cell Kind>
void recur_as(Parallel& pool, const Recurrence& s, const RecurrentForward& f) {
  constexpr int G = Gates<Kind>::count;
  const long width = s.width, plane = s.batch * width, blocks = up(width, kLanes) / kLanes;
  Scratch packed;
  const float* panels = f.panels;
  if (panels == nullptr) {
    float* to = packed.room(feedback_size(s));
    pack_gates(pool, f.u, width, G, to);
    panels = to;
  }
  const auto advance = [&](long i, long row, const Parts& down, long first, long end) {  // blocks of units
    const long t = s.backwards ? s.steps - 1 - i : i, last = s.backwards ? t + 1 : t - 1;
    const float* before = i == 0 ? f.h0 : f.h + last * plane;
    const float* c_before = Kind != Cell::lstm ? nullptr : i == 0 ? f.c0 : f.c + last * plane;
    const bool* valid = f.valid == nullptr ? nullptr : f.valid + t * s.batch;
    for (long n = first; n < end; ++n) {  // back and forth: the last one's panel is still in the first-level cache
      const long unit = (i % 2 == 0 ? n : first + end - 1 - n) * kLanes;
      for (long d = 0; d < down.parts; ++d)
        with_rows<Gates<Kind>::rows>(down.size(d), [&](auto rows) {
          step<Kind, decltype(rows)::value>(f, width, row + down.begin(d), t * plane, t * plane * G, unit, before,
                                            c_before, panels + unit * width * G, valid);
        });
    }
  };
  // few rows: threads share the units, for each would read all of u for the sake of a row or two
  const long most = pool.threads() < blocks ? pool.threads() : blocks;
  if (most > 1 && s.batch <= Gates<Kind>::rows && s.batch * width * width * G >= kRelayPays) {
    const Parts share(blocks, (blocks + most - 1) / most), down(s.batch, Gates<Kind>::rows);
    Relay relay(share.parts);
    pool.each(share.parts, [&](long mine) {
      relay.run(mine, s.steps, [&](long i, long k) { advance(i, 0, down, share.begin(k), share.begin(k + 1)); });
    });
    return;
  }
  const Parts share = shares(pool, s.batch);
  pool.each(share.parts, [&](long part) {
    const Parts down(share.size(part), Gates<Kind>::rows);
    for (long i = 0; i < s.steps; ++i) advance(i, share.begin(part), down, 0, blocks);
  });
}

void recur(Parallel& pool, const Recurrence& s, const RecurrentForward& f) {
  switch (s.cell) {
    case Cell::tanh: return recur_as<Cell::tanh>(pool, s, f);
    case Cell::relu: return recur_as<Cell::relu>(pool, s, f);
    case Cell::lstm: return recur_as<Cell::lstm>(pool, s, f);
    case Cell::gru: return recur_as<Cell::gru>(pool, s, f);
  }
}

// The elementwise part of one step of one row, backward: from dh (and dc) to dz, and to what of dh goes on to the step
// before past the product with u (`keep`).
template <Cell Kind>
PELLUCID_INLINE void bend_back(const Recurrence& s, const RecurrentBackward& b, long t, long row, const float* before,
                               const float* c_before, float* dh, float* dc, float* keep) {
  constexpr int G = Gates<Kind>::count;
  const long width = s.width, at = (t * s.batch + row) * width;
  const bool real = b.valid == nullptr || b.valid[t * s.batch + row];
  float* dz = b.dz + at * G;
  float* dr = Kind == Cell::gru ? b.dr + at * G : nullptr;
  const float* gates = b.gates + at * G;
  const Vec zero = {};
  for (long n = 0; n < width; n += kLanes) {
    const long left = width - n;
    const Vec d = load_some(dh + n, left) + load_some(b.dh + at + n, left);
    if (!real) {  // what only fills up has changed nothing
      for (int g = 0; g < G; ++g) store_some(dz + g * width + n, zero, left);
      if constexpr (Kind == Cell::gru)
        for (int g = 0; g < G; ++g) store_some(dr + g * width + n, zero, left);
      store_some(keep + n, d, left);
      continue;
    }
    if constexpr (Kind == Cell::lstm) {
      const Vec i = load_some(gates + n, left), forget = load_some(gates + width + n, left);
      const Vec g = load_some(gates + 2 * width + n, left), o = load_some(gates + 3 * width + n, left);
      const Vec tc = tanh(load_some(b.c + at + n, left)), kept = load_some(c_before + row * width + n, left);
      const Vec e = load_some(dc + n, left) + d * o * (1.0f - tc * tc);
      store_some(dz + n, e * g * i * (1.0f - i), left);
      store_some(dz + width + n, e * kept * forget * (1.0f - forget), left);
      store_some(dz + 2 * width + n, e * i * (1.0f - g * g), left);
      store_some(dz + 3 * width + n, d * tc * o * (1.0f - o), left);
      store_some(dc + n, e * forget, left);
      store_some(keep + n, zero, left);
    } else if constexpr (Kind == Cell::gru) {
      const Vec reset = load_some(gates + n, left), share = load_some(gates + width + n, left);
      const Vec g = load_some(gates + 2 * width + n, left), fed = load_some(b.fed + at + n, left);
      const Vec old = load_some(before + row * width + n, left);
      const Vec by_g = d * (1.0f - share) * (1.0f - g * g);
      const Vec first = by_g * fed * reset * (1.0f - reset), second = d * (old - g) * share * (1.0f - share);
      store_some(dz + n, first, left), store_some(dr + n, first, left);
      store_some(dz + width + n, second, left), store_some(dr + width + n, second, left);
      store_some(dz + 2 * width + n, by_g, left), store_some(dr + 2 * width + n, by_g * reset, left);
      store_some(keep + n, d * share, left);
    } else {
      const Vec h = load_some(gates + n, left);
      store_some(dz + n, Kind == Cell::tanh ? d * (1.0f - h * h) : (h > zero ? d : zero), left);
      store_some(keep + n, zero, left);
    }
  }
}

template <Cell Kind>
void recur_back_as(Parallel& pool, const Recurrence& s, const RecurrentBackward& b) {
  constexpr int G = Gates<Kind>::count;
  const long width = s.width, plane = s.batch * width, tall = G * width;
  Scratch panels(up(width, 2 * kLanes) * tall);
  pack(b.u, tall, width, 1, tall, 2 * kLanes, panels.data());  // of u': [gates * width, width]
  const Parts share = shares(pool, s.batch);
  const float* of_u = Kind == Cell::gru ? b.dr : b.dz;
  if (b.dh_last != b.dh0) std::memcpy(b.dh0, b.dh_last, static_cast<size_t>(plane) * 4);
  if (Kind == Cell::lstm && b.dc_last != b.dc0) std::memcpy(b.dc0, b.dc_last, static_cast<size_t>(plane) * 4);
  pool.each(share.parts, [&](long part) {
    const long first = share.begin(part), rows_here = share.size(part);
    const Parts down(rows_here, kTileRows);
    Scratch keeps(rows_here * width);
    for (long i = s.steps - 1; i >= 0; --i) {
      const long t = s.backwards ? s.steps - 1 - i : i, last = s.backwards ? t + 1 : t - 1;
      const float* before = i == 0 ? b.h0 : b.h + last * plane;
      const float* c_before = Kind != Cell::lstm ? nullptr : i == 0 ? b.c0 : b.c + last * plane;
      for (long r = 0; r < rows_here; ++r)
        bend_back<Kind>(s, b, t, first + r, before, c_before, b.dh0 + (first + r) * width,
                        Kind == Cell::lstm ? b.dc0 + (first + r) * width : nullptr, keeps.data() + r * width);
      for (long n = 0; n < width; n += 2 * kLanes) {
        const long left = width - n;
        for (long d = 0; d < down.parts; ++d)
          with_rows<kTileRows>(down.size(d), [&](auto count) {
            constexpr int kRows = decltype(count)::value;
            const long row = down.begin(d);
            Vec sums[kRows][2];
            for (int r = 0; r < kRows; ++r)
              for (int v = 0; v < 2; ++v)
                sums[r][v] = load_some(keeps.data() + (row + r) * width + n + v * kLanes, left - v * kLanes);
            multiply(sums, tall, of_u + (t * s.batch + first + row) * tall, tall, [](long k) { return k; },
                     panels.data() + n * tall, 2 * kLanes);
            for (int r = 0; r < kRows; ++r)
              for (int v = 0; v < 2; ++v)
                store_some(b.dh0 + (first + row + r) * width + n + v * kLanes, sums[r][v], left - v * kLanes);
          });
      }
    }
  });
}

void recur_back(Parallel& pool, const Recurrence& s, const RecurrentBackward& b) {
  switch (s.cell) {
    case Cell::tanh: return recur_back_as<Cell::tanh>(pool, s, b);
    case Cell::relu: return recur_back_as<Cell::relu>(pool, s, b);
    case Cell::lstm: return recur_back_as<Cell::lstm>(pool, s, b);
    case Cell::gru: return recur_back_as<Cell::gru>(pool, s, b);
  }
}
