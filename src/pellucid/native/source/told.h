// What a measured step of a dense network tells: sums over a sample of each output, of its gradient and of the weights.
// Samples are taken as `signals/sampling.py` says: every so many numbers of an array as it lies in JAX.

constexpr long kFields = 5;  // count, sum, sum of squares, zeros, numbers that are not finite

inline long sampled(long n, long step) { return (n + step - 1) / step; }

// to <- every step-th number of an array [.., n], those of its rows [begin, begin + rows), which are at(row - begin,
// column). Returns how many there are up to the last of these rows.
template <typename At>
long take_sample(long begin, long rows, long n, long step, float* to, At at) {
  const long until = sampled((begin + rows) * n, step), down = step / n, along = step % n;
  long k = sampled(begin * n, step), row = (k * step - begin * n) / n, column = (k * step - begin * n) % n;
  for (; k < until; ++k) {
    to[k] = at(row, column);
    row += down, column += along;
    if (column >= n) column -= n, ++row;
  }
  return until;
}

inline void moments(const float* v, long n, float* to) {
  Vec sum = {}, square = {}, zeros = {}, wrong = {};
  const Vec none = {}, one = splat(1.0f);
  for (long i = 0; i < n; i += kLanes) {
    const Vec a = load_some(v + i, n - i), off = a - a;  // off: 0, or NaN where a is not finite
    sum += a, square += a * a;
    zeros += a == none ? one : none;
    wrong += off == off ? none : one;
  }
  to[0] = static_cast<float>(n), to[1] = total(sum), to[2] = total(square);
  to[3] = total(zeros) - static_cast<float>(up(n, kLanes) - n), to[4] = total(wrong);  // less what filled the vector
}

inline float sum_of_squares(const float* v, long n) {
  Vec square = {};
  for (long i = 0; i < n; i += kLanes) {
    const Vec a = load_some(v + i, n - i);
    square += a * a;
  }
  return total(square);
}

// Of many, in stretches whose sums are added in doubles: the same on any number of threads.
inline float sum_of_squares(Parallel& pool, const float* v, long n) {
  constexpr long kStretch = 1 << 14;
  const long parts = sampled(n, kStretch);
  std::unique_ptr<double[]> sums(new double[parts]);
  pool.each(parts, [&](long i) { sums[i] = sum_of_squares(v + i * kStretch, least(n - i * kStretch, kStretch)); });
  double all = 0;
  for (long i = 0; i < parts; ++i) all += sums[i];
  return static_cast<float>(all);
}

// A sample of one array of weights at a step: of its gradient, of the way it goes, and of what it was.
struct WeightSample {
  Scratch gradient, way, weight;
  long step = 0, many = 0;

  void begin(long n, long every) {
    step = every, many = sampled(n, every);
    gradient.room(many), way.room(many), weight.room(many);
  }
  // of one vector, whose first number is the array's number `at` and of which `left` count
  void note(long at, long left, Vec g, Vec goes, Vec w) {
    float each[3][kLanes];
    store(each[0], g), store(each[1], goes), store(each[2], w);
    for (long lane = (step - at % step) % step; lane < least(left, kLanes); lane += step) {
      const long k = (at + lane) / step;
      gradient.data()[k] = each[0][lane], way.data()[k] = each[1][lane], weight.data()[k] = each[2][lane];
    }
  }
  void tell(float rate, float* to) {
    const auto mean = [&](Scratch& of) { return sum_of_squares(of.data(), many) / static_cast<float>(many); };
    to[0] = mean(gradient), to[1] = rate * rate * mean(way), to[2] = mean(weight);
  }
};
