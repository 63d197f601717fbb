// Layer normalisation: every row to mean 0 and variance 1, then times scale plus bias. A row is read from the cache
// again and again; its mean and variance are not kept for the way back, for to find them costs less than a step more.

constexpr long kRowsAtOnce = 16;  // of a task

struct RowMoments {
  float mean, factor;  // factor: 1 / sqrt(var + epsilon)
  RowMoments(const RowNorm& s, const float* x) {
    const float share = 1.0f / static_cast<float>(s.width);
    Vec sum = {};
    for (long n = 0; n < s.width; n += kLanes) sum += load_some(x + n, s.width - n);
    mean = total(sum) * share;
    Vec squares = {};
    for (long n = 0; n < s.width; n += kLanes) {
      const Vec off = first_of(load_some(x + n, s.width - n) - mean, s.width - n, Vec{});
      squares += off * off;
    }
    factor = 1.0f / __builtin_sqrtf(total(squares) * share + s.epsilon);
  }
};

void row_norm(Parallel& pool, const RowNorm& s, const float* x, const float* scale, const float* bias, float* y) {
  const Parts blocks(s.rows, kRowsAtOnce);
  pool.each(blocks.parts, [&](long block) {
    for (long i = blocks.begin(block); i < blocks.begin(block + 1); ++i) {
      const float* from = x + i * s.width;
      const RowMoments m(s, from);
      for (long n = 0; n < s.width; n += kLanes) {
        const long left = s.width - n;
        Vec v = (load_some(from + n, left) - m.mean) * m.factor;
        if (scale != nullptr) v = v * load_some(scale + n, left);
        if (bias != nullptr) v = v + load_some(bias + n, left);
        store_some(y + i * s.width + n, v, left);
      }
    }
  });
}

// dscale, dbias: [width], or null
void row_norm_back(Parallel& pool, const RowNorm& s, const float* x, const float* scale, const float* dy, float* dx,
                   float* dscale, float* dbias) {
  // every group of rows has sums of its own; the groups follow from the numbers alone
  const Parts groups(s.rows, most((s.rows + pool.threads() - 1) / pool.threads(), 1));
  const long wide = up(s.width, kLanes);
  Scratch sums(groups.parts * 4 * wide);
  std::memset(sums.data(), 0, static_cast<size_t>(groups.parts * 4 * wide) * 4);
  const float share = 1.0f / static_cast<float>(s.width);
  pool.each(groups.parts, [&](long group) {
    float* all = sums.data() + group * 4 * wide;
    float* scales = all + 2 * wide;  // of a few rows, so that no sum grows far beyond what is added to it
    float* biases = scales + wide;
    for (long i = groups.begin(group); i < groups.begin(group + 1); ++i) {
      const float* from = x + i * s.width;
      const float* given = dy + i * s.width;
      const RowMoments m(s, from);
      Vec sum = {}, product = {};
      for (long n = 0; n < s.width; n += kLanes) {
        const long left = s.width - n;
        const Vec d = load_some(given + n, left), hat = (load_some(from + n, left) - m.mean) * m.factor;
        const Vec g = scale == nullptr ? d : d * load_some(scale + n, left);
        sum += g, product += g * hat;
        store(scales + n, load(scales + n) + d * hat), store(biases + n, load(biases + n) + d);
      }
      const float mean = total(sum) * share, slope = total(product) * share;
      for (long n = 0; n < s.width; n += kLanes) {
        const long left = s.width - n;
        const Vec d = load_some(given + n, left), hat = (load_some(from + n, left) - m.mean) * m.factor;
        const Vec g = scale == nullptr ? d : d * load_some(scale + n, left);
        store_some(dx + i * s.width + n, (g - mean - hat * slope) * m.factor, left);
      }
      if (i + 1 < groups.begin(group + 1) && (i + 1 - groups.begin(group)) % kFewRows != 0) continue;
      for (long n = 0; n < 2 * wide; n += kLanes) store(all + n, load(all + n) + load(scales + n));
      std::memset(scales, 0, static_cast<size_t>(2 * wide) * 4);
    }
  });
  const auto add = [&](float* to, long from) {
    if (to == nullptr) return;
    for (long n = 0; n < s.width; n += kLanes) {
      Vec sum = {};
      for (long group = 0; group < groups.parts; ++group) sum += load(sums.data() + (4 * group + from) * wide + n);
      store_some(to + n, sum, s.width - n);
    }
  };
  add(dscale, 0), add(dbias, 1);
}
