// Batch normalisation while training, of the last axis, alone or with ReLU and the largest of windows behind it.
//
// Mean and variance are found in one reading of the array: a few rows at a time, twice over while they lie in the
// cache, and what they give is put together in double precision (Chan, Golub & LeVeque 1983).

constexpr long kFewRows = 128;  // rows whose sums are taken in single precision

// What is known of some rows of one column.
struct Moments {
  double count = 0, mean = 0, squares = 0;  // squares: of the distances from the mean
  void add(double n, double m, double s) {
    if (n == 0) return;
    const double all = count + n, off = m - mean;
    squares += s + off * off * count * n / all;
    mean += off * n / all;
    count = all;
  }
};

// Sums of columns of rows [count, columns]: `term(row, column)` gives the vectors to be added. to: [columns] floats.
template <typename Term>
PELLUCID_INLINE void sum_columns(long count, long columns, Term term, float* to) {
  for (long n = 0; n < columns; n += kTileColumns) {
    Vec sums[4] = {};
    long i = 0;
    for (; i + 1 < count; i += 2) {
      sums[0] += term(i, n), sums[1] += term(i, n + kLanes);
      sums[2] += term(i + 1, n), sums[3] += term(i + 1, n + kLanes);
    }
    if (i < count) sums[0] += term(i, n), sums[1] += term(i, n + kLanes);
    store_some(to + n, sums[0] + sums[2], columns - n);
    store_some(to + n + kLanes, sums[1] + sums[3], columns - n - kLanes);
  }
}

struct Normal {
  long columns;
  const float *mean, *factor, *bias;  // factor: scale / sqrt(var + epsilon)
  PELLUCID_INLINE void write(const float* x, long rows, float* y) const {
    for (long i = 0; i < rows; ++i, x += columns, y += columns)
      for (long n = 0; n < columns; n += kLanes) {
        const long left = columns - n;
        const Vec centred = load_some(x + n, left) - load_some(mean + n, left);
        store_some(y + n, centred * load_some(factor + n, left) + load_some(bias + n, left), left);
      }
  }
};

// The rows that count, cut into pieces of about kFewRows that lie side by side.
struct Pieces {
  struct Piece { long begin, count; };
  long count = 0, rows = 0;
  std::unique_ptr<Piece[]> of;
  Pieces(long batch, long stops, const bool* mask) : of(new Piece[batch + batch * stops / kFewRows + 1]) {
    for (long image = 0; image < batch;) {
      long end = mask ? image : batch;
      while (end < batch && mask[end]) ++end;
      const Parts cut((end - image) * stops, kFewRows);
      for (long i = 0; i < cut.parts; ++i) of[count++] = {image * stops + cut.begin(i), cut.size(i)};
      rows += cut.n;
      image = end + 1;
    }
  }
};

inline float inverse(float var, float epsilon) { return static_cast<float>(1 / __builtin_sqrt(double(var) + epsilon)); }

void batch_norm(Parallel& pool, const Convolution& c, const Join& join, const NormForward& f) {
  const long columns = c.outputs, stops = c.out_height * c.out_width;
  const Pieces pieces(c.batch, stops, f.mask);
  const long share = (pieces.count + pool.threads() - 1) / pool.threads();
  const Parts groups(pieces.count, share > 0 ? share : 1);
  std::unique_ptr<Moments[]> found(new Moments[groups.parts * columns]);
  pool.each(groups.parts, [&](long group) {
    thread_local Scratch room;
    float* sum = room.room(3 * columns);
    float *squares = sum + columns, *mean = squares + columns;
    Moments* own = found.get() + group * columns;
    for (long piece = groups.begin(group); piece < groups.begin(group + 1); ++piece) {
      const long count = pieces.of[piece].count;
      const float* x = f.x + pieces.of[piece].begin * columns;
      sum_columns(count, columns, [&](long i, long n) { return load_some(x + i * columns + n, columns - n); }, sum);
      for (long n = 0; n < columns; ++n) mean[n] = sum[n] / static_cast<float>(count);
      sum_columns(count, columns, [&](long i, long n) {
        const Vec off = load_some(x + i * columns + n, columns - n) - load_some(mean + n, columns - n);
        return off * off;
      }, squares);
      for (long n = 0; n < columns; ++n) {  // the sum is not count * mean to the last digit
        const double off = sum[n] - double(count) * mean[n];
        own[n].add(count, double(sum[n]) / count, squares[n] - off * off / count);
      }
    }
  });
  Scratch factors(columns);
  for (long n = 0; n < columns; ++n) {
    Moments all;
    for (long group = 0; group < groups.parts; ++group) {
      const Moments& one = found[group * columns + n];
      all.add(one.count, one.mean, one.squares);
    }
    f.mean[n] = static_cast<float>(all.mean);
    f.var[n] = static_cast<float>(all.count > 0 ? all.squares / all.count : 0);
    factors.data()[n] = inverse(f.var[n], f.epsilon) * f.scale[n];
  }
  const Normal normal{columns, f.mean, factors.data(), f.bias};
  if (alone(join)) {
    const Parts chunks(c.batch * stops, kFewRows);
    pool.each(chunks.parts, [&](long i) {
      normal.write(f.x + chunks.begin(i) * columns, chunks.size(i), f.y + chunks.begin(i) * columns);
    });
    return;
  }
  const Largest keep(c, join, f.y, f.places);
  const long line = c.out_width * columns, units = (c.out_height + join.rows - 1) / join.rows;
  const long most = line > 0 ? kBand / (line * join.rows) : 1;
  const Parts cut(units, most < 1 ? 1 : most);
  pool.each(c.batch * cut.parts, [&](long i) {
    const long first = cut.begin(i % cut.parts) * join.rows, end = cut.begin(i % cut.parts + 1) * join.rows;
    const long height = (end < c.out_height ? end : c.out_height) - first, row = i / cut.parts * c.out_height + first;
    float* y = keep.place(row, height);
    normal.write(f.x + row * line, height * c.out_width, y);
    keep.done(row, height, y);
  });
}

// dbias = sum dy, dscale = sum dy * xhat, dx = factor * (dy - dbias / rows - xhat * dscale / rows), xhat = (x - mean) *
// inverse; what was left out of mean and variance moves neither: dx = factor * dy. dy is put together image by image where
// something was joined.
void batch_norm_back(Parallel& pool, const Convolution& c, const Join& join, const NormBackward& b) {
  const long columns = c.outputs, stops = c.out_height * c.out_width;
  const Spread spread{c, join, b.dy, b.places};
  const bool one = alone(join);
  const auto gradient = [&](long image) { return one ? b.dy + image * stops * columns : spread(image); };
  long rows = 0;
  for (long image = 0; image < c.batch; ++image) rows += !b.mask || b.mask[image] ? stops : 0;
  Scratch table(5 * columns);
  float *inverses = table.data(), *less = inverses + columns, *slope = less + columns, *factor = slope + columns;
  float* nothing = factor + columns;
  for (long n = 0; n < columns; ++n) inverses[n] = inverse(b.var[n], b.epsilon), nothing[n] = 0;
  const long most = pool.threads() < c.batch ? pool.threads() : c.batch;
  const Parts groups(c.batch, most > 0 ? (c.batch + most - 1) / most : 1);
  std::unique_ptr<double[]> sums(new double[groups.parts * 2 * columns]());
  pool.each(groups.parts, [&](long group) {
    thread_local Scratch room;
    float *dbias = room.room(2 * columns), *dscale = dbias + columns;
    double* own = sums.get() + group * 2 * columns;
    for (long image = groups.begin(group); image < groups.begin(group + 1); ++image) {
      const float *dy = gradient(image), *x = b.x + image * stops * columns;
      const Parts chunks(stops, kFewRows);
      for (long chunk = 0; chunk < chunks.parts; ++chunk) {
        const long first = chunks.begin(chunk) * columns, count = chunks.size(chunk);
        const auto given = [&](long i, long n) { return load_some(dy + first + i * columns + n, columns - n); };
        sum_columns(count, columns, given, dbias);
        sum_columns(count, columns, [&](long i, long n) {
          const long left = columns - n;
          return given(i, n) * (load_some(x + first + i * columns + n, left) - load_some(b.mean + n, left));
        }, dscale);
        for (long n = 0; n < columns; ++n) own[n] += dbias[n], own[columns + n] += dscale[n];
      }
    }
  });
  for (long n = 0; n < columns; ++n) {
    double dbias = 0, dscale = 0;
    for (long group = 0; group < groups.parts; ++group)
      dbias += sums[group * 2 * columns + n], dscale += sums[(group * 2 + 1) * columns + n];
    dscale *= inverses[n];
    b.dbias[n] = static_cast<float>(dbias), b.dscale[n] = static_cast<float>(dscale);
    factor[n] = inverses[n] * b.scale[n];
    less[n] = static_cast<float>(rows > 0 ? dbias / rows : 0);
    slope[n] = static_cast<float>(rows > 0 ? dscale * inverses[n] / rows : 0);
  }
  pool.each(c.batch, [&](long image) {
    const float *dy = gradient(image), *x = b.x + image * stops * columns;
    float* dx = b.dx + image * stops * columns;
    const bool counts = !b.mask || b.mask[image];
    const float *lessen = counts ? less : nothing, *tilt = counts ? slope : nothing;
    for (long i = 0; i < stops; ++i, dy += columns, x += columns, dx += columns)
      for (long n = 0; n < columns; n += kLanes) {
        const long left = columns - n;
        const Vec off = load_some(x + n, left) - load_some(b.mean + n, left);
        const Vec rest = load_some(dy + n, left) - load_some(lessen + n, left) - off * load_some(tilt + n, left);
        store_some(dx + n, rest * load_some(factor + n, left), left);
      }
  });
}
