// Vectors of floats by the compilers' vector extensions (GCC, Clang), and the register tile that all products share.
// Included once for each instruction set, within an unnamed namespace: no function that is built for one may be taken
// by the linker for another. So this includes nothing, and nothing here has a name outside.

#ifndef PELLUCID_LANES
#error "PELLUCID_LANES: floats in a vector"
#endif

constexpr int kLanes = PELLUCID_LANES;
constexpr int kTileRows = PELLUCID_TILE_ROWS;  // with 2 vectors a row: as many sums as the registers hold

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int IntVec __attribute__((vector_size(kLanes * 4)));
typedef float LooseVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

#define PELLUCID_INLINE inline __attribute__((always_inline))

PELLUCID_INLINE Vec load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
PELLUCID_INLINE void store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }
PELLUCID_INLINE Vec splat(float a) { return a - Vec{}; }

// The vector as it is: no compiler makes one instruction of what gave it and of what uses it.
PELLUCID_INLINE Vec rounded(Vec v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

inline long least(long a, long b) { return a < b ? a : b; }
inline long most(long a, long b) { return a > b ? a : b; }
inline long up(long n, long to) { return (n + to - 1) / to * to; }

// The numbers 0 to N - 1, for what is said of each place of a vector.
template <int... I>
struct Places {};
template <int N, int... I>
struct Until : Until<N - 1, N - 1, I...> {};
template <int... I>
struct Until<0, I...> {
  using Each = Places<I...>;
};
using Each = Until<kLanes>::Each;

// A vector of some of a's floats (numbers below kLanes) and b's (the others).
template <int... I>
PELLUCID_INLINE Vec picked(Vec a, Vec b, Places<I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, I...);
#else
  return __builtin_shuffle(a, b, IntVec{I...});
#endif
}

// v's floats, those that differ in the bit S of their place exchanged.
template <int S, int... I>
PELLUCID_INLINE Vec exchanged(Vec v, Places<I...>) {
  return picked(v, v, Places<(I ^ S)...>{});
}

// All of a vector's floats joined, two halves at a time.
template <int S = kLanes / 2, typename Join>
PELLUCID_INLINE float across(Vec v, Join join) {
  v = join(v, exchanged<S>(v, Each{}));
  if constexpr (S > 1) return across<S / 2>(v, join);
  return v[0];
}
PELLUCID_INLINE float total(Vec v) {
  return across(v, [](Vec a, Vec b) { return a + b; });
}

// The first n of a vector's floats, the others 0.
PELLUCID_INLINE Vec load_some(const float* p, long n) {
  if (n >= kLanes) return load(p);
  Vec v = {};
  std::memcpy(&v, p, static_cast<size_t>(n > 0 ? n : 0) * 4);
  return v;
}
PELLUCID_INLINE void store_some(float* p, Vec v, long n) {
  if (n >= kLanes) {
    store(p, v);
  } else if (n > 0) {
    std::memcpy(p, &v, static_cast<size_t>(n) * 4);
  }
}

// The first n of a vector's floats, and others behind them.
PELLUCID_INLINE Vec first_of(Vec v, long n, Vec others) {
  if (n >= kLanes) return v;
  IntVec place;
  for (int i = 0; i < kLanes; ++i) place[i] = i;
  return place < static_cast<int>(n) - IntVec{} ? v : others;
}

// Bytes as whole numbers, and back. Written as loops over arrays, which compilers make one instruction of; GCC 12 takes
// `__builtin_convertvector` from so narrow to so wide apart into forty.
PELLUCID_INLINE IntVec widened(const unsigned char* p) {
  int each[kLanes];
  for (int i = 0; i < kLanes; ++i) each[i] = p[i];
  IntVec v;
  std::memcpy(&v, each, sizeof v);
  return v;
}
PELLUCID_INLINE void narrowed(unsigned char* p, IntVec v) {
  int each[kLanes];
  std::memcpy(each, &v, sizeof v);
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<unsigned char>(each[i]);
}

// What a transposition swaps between the rows and places that differ in the bit S of their number.
template <int S, int... I>
PELLUCID_INLINE void swap_between(Vec& a, Vec& b, Places<I...>) {
  const Vec first = picked(a, b, Places<((I & S) != 0 ? kLanes + (I ^ S) : I)...>{});
  b = picked(a, b, Places<((I & S) != 0 ? kLanes + I : I ^ S)...>{});
  a = first;
}
template <int S, int... I>
PELLUCID_INLINE void swap_all(Vec (&rows)[kLanes], Places<I...>) {
  (((I & S) == 0 ? swap_between<S>(rows[I], rows[I | S], Each{}) : void()), ...);
}

// kLanes rows of a square, transposed.
template <int S = 1>
PELLUCID_INLINE void transpose(Vec (&rows)[kLanes]) {
  swap_all<S>(rows, Each{});
  if constexpr (2 * S < kLanes) transpose<2 * S>(rows);
}

// e^x to 2 units in the last place (Cephes' polynomial, Moshier 1989); NaN stays NaN.
PELLUCID_INLINE Vec exponential(Vec x) {
  const Vec low = splat(-87.0f), high = splat(88.0f);
  Vec a = x > high ? high : x;
  a = a < low ? low : a;
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
  const Vec shifted = a * 1.44269504088896341f + magic;
  const Vec n = shifted - magic;
  Vec r = a - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  IntVec bits, whole;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&whole, &shifted, sizeof whole);
  bits = bits + (whole << 23);
  Vec e;
  std::memcpy(&e, &bits, sizeof e);
  return x == x ? e : x;
}

PELLUCID_INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }

PELLUCID_INLINE Vec tanh(Vec x) {
  const Vec z = x * x;
  Vec p = z * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * z + -5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z + -3.33332819422e-1f;
  const Vec near = p * z * x + x;
  const Vec far = 1.0f - 2.0f / (exponential(x + x) + 1.0f);
  return z < 0.390625f ? near : far;
}

// sums[i][j] += sum over k of a[row(i) + at(k)] * b[k * step + j * kLanes ...]: `Rows` times `Vectors` vectors that stay
// in registers. At gives where the k-th factors lie, Row where those of a row do.
template <int Rows, int Vectors, typename Row, typename At>
PELLUCID_INLINE void multiply_rows(Vec (&sums)[Rows][Vectors], long count, const float* a, Row row, At at,
                                   const float* b, long step) {
  for (long k = 0; k < count; ++k) {
    const float* here = a + at(k);
    Vec right[Vectors];
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + k * step + j * kLanes);
    for (int i = 0; i < Rows; ++i) {
      const Vec left = splat(here[row(i)]);
      for (int j = 0; j < Vectors; ++j) sums[i][j] += left * right[j];
    }
  }
}

// The same with rows at equal distances.
template <int Rows, int Vectors, typename At>
PELLUCID_INLINE void multiply(Vec (&sums)[Rows][Vectors], long count, const float* a, long row, At at, const float* b,
                              long step) {
  multiply_rows(sums, count, a, [=](int i) { return i * row; }, at, b, step);
}

// Calls body(std::integral_constant<int, n>) for n rows, 1 to Most.
template <int N>
struct Count {
  static constexpr int value = N;
};
template <int Most, typename Body>
PELLUCID_INLINE void with_rows(long n, Body&& body) {
  if constexpr (Most > 0) {
    if (n == Most) return body(Count<Most>{});
    with_rows<Most - 1>(n, body);
  }
}

// [0, n) in equal parts of at most `most`.
struct Parts {
  long n, parts;
  Parts(long n, long most) : n(n), parts((n + most - 1) / most) {}
  long begin(long i) const { return n * i / parts; }
  long size(long i) const { return begin(i + 1) - begin(i); }
  long largest() const { return parts == 0 ? 0 : (n + parts - 1) / parts; }
};

// Of an array with element (k, j) at w[k + j * column], rows k to `count` and `n` columns -> to[k][j], rows `width` floats
// long, zeros beyond the last column.
inline void pack_turned(const float* w, long count, long n, long column, long width, float* to) {
  long k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (long first = 0; first < width; first += kLanes) {
      Vec square[kLanes];
      for (int j = 0; j < kLanes; ++j) square[j] = first + j < n ? load(w + (first + j) * column + k) : Vec{};
      transpose(square);
      for (int i = 0; i < kLanes; ++i) store(to + (k + i) * width + first, square[i]);
    }
  for (; k < count; ++k)
    for (long j = 0; j < width; ++j) to[k * width + j] = j < n ? w[j * column + k] : 0;
}

// w: [count, columns] (element (k, j) at w[k * row + j * column]) -> panels [columns / width][count][width], zeros beyond
// the last column. width: a multiple of kLanes.
inline void pack(const float* w, long count, long columns, long row, long column, long width, float* to) {
  for (long first = 0; first < columns; first += width) {
    const long n = columns - first < width ? columns - first : width;
    if (row == 1 && column != 1) {
      pack_turned(w + first * column, count, n, column, width, to);
      to += count * width;
      continue;
    }
    for (long k = 0; k < count; ++k, to += width) {
      const float* from = w + k * row + first * column;
      if (column == 1)
        std::memcpy(to, from, static_cast<size_t>(n) * 4);
      else
        for (long j = 0; j < n; ++j) to[j] = from[j * column];
      for (long j = n; j < width; ++j) to[j] = 0;
    }
  }
}

// Uninitialised floats at the start of a cache line.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(long n) { room(n); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  float* room(long n) {
    if (n > size_) {
      std::free(data_);
      const size_t bytes = (static_cast<size_t>(n) * sizeof(float) + 127) / 64 * 64;
      data_ = static_cast<float*>(std::aligned_alloc(64, bytes));
      size_ = data_ == nullptr ? 0 : n;
      if (data_ == nullptr) throw std::bad_alloc();
    }
    return data_;
  }
  float* data() { return data_; }
  void swap(Scratch& other) {
    float* const data = data_;
    const long size = size_;
    data_ = other.data_, size_ = other.size_, other.data_ = data, other.size_ = size;
  }

 private:
  float* data_ = nullptr;
  long size_ = 0;
};
