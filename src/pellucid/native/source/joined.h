// ReLU and the largest of windows that lie side by side as one, behind a convolution or alone. What lies between them
// stays in the processor's cache: to memory go the largest and, for the way back, a byte that says which place of the
// window held it.

constexpr unsigned char kNowhere = 255;  // ReLU gave 0: no place has a gradient
constexpr long kBand = 1 << 15;          // floats of the convolution's output that are made at a time

inline long down(const Convolution& c, const Join& join) { return c.out_height / join.rows; }
inline long across(const Convolution& c, const Join& join) { return c.out_width / join.columns; }

inline bool alone(const Join& join) { return join.rows == 1 && join.columns == 1 && !join.relu; }

PELLUCID_INLINE void store_bytes(unsigned char* p, IntVec v, long n) {
  if (n >= kLanes) return narrowed(p, v);
  unsigned char bytes[kLanes];
  narrowed(bytes, v);
  std::memcpy(p, bytes, static_cast<size_t>(n));
}
PELLUCID_INLINE IntVec load_bytes(const unsigned char* p, long n) {
  if (n >= kLanes) return widened(p);
  unsigned char bytes[kLanes] = {};
  std::memcpy(bytes, p, static_cast<size_t>(n));
  return widened(bytes);
}

// Calls body with the window's sizes, known to the compiler where it is 2 x 2, as most are.
template <long Rows, long Columns>
struct Sized {
  long rows() const { return Rows; }
  long columns() const { return Columns; }
};
struct Drawn {
  const Join& join;
  long rows() const { return join.rows; }
  long columns() const { return join.columns; }
};
template <typename Body>
PELLUCID_INLINE void with_window(const Join& join, Body&& body) {
  if (join.rows == 2 && join.columns == 2)
    body(Sized<2, 2>{});
  else
    body(Drawn{join});
}

// A sink of `convolve_packed` that keeps of the rows only what is largest.
struct Largest {
  const Convolution& c;
  const Join& join;
  float* y;
  unsigned char* places;  // null: not wanted
  long unit;
  Largest(const Convolution& c, const Join& join, float* y, unsigned char* places)
      : c(c), join(join), y(y), places(places), unit(join.rows) {}

  float* place(long, long rows) const {
    thread_local Scratch room;
    return room.room(rows * c.out_width * c.outputs);
  }

  void done(long first, long rows, const float* from) const {
    with_window(join, [&](auto window) {
      const long high = down(c, join), wide = across(c, join), line = c.out_width * c.outputs;
      for (long r = 0; r < rows; ++r) {
        const long image = (first + r) / c.out_height, i = (first + r) % c.out_height;
        if (i % join.rows != 0 || i / join.rows >= high) continue;
        const long to = (image * high + i / join.rows) * wide * c.outputs;
        for (long j = 0; j < wide; ++j)
          pick(window, from + r * line + j * window.columns() * c.outputs, line, to + j * c.outputs);
      }
    });
  }

  template <typename Window>
  PELLUCID_INLINE void pick(Window window, const float* from, long line, long to) const {
    for (long n = 0; n < c.outputs; n += kLanes) {
      const long left = c.outputs - n;
      Vec best = load_some(from + n, left);
      IntVec at = {};
      int number = 0;
      for (long u = 0; u < window.rows(); ++u)
        for (long v = 0; v < window.columns(); ++v, ++number) {
          const Vec here = load_some(from + u * line + v * c.outputs + n, left);
          // the first of equals wins, and so does the first NaN
          const IntVec more = (here > best) | ((here != here) & (best == best));
          best = more ? here : best;
          at = more ? number - IntVec{} : at;
        }
      if (join.relu) {
        const IntVec none = best <= Vec{};
        best = none ? Vec{} : best;
        at = none ? kNowhere - IntVec{} : at;
      }
      store_some(y + to + n, best, left);
      if (places != nullptr) store_bytes(places + to + n, at, left);
    }
  }
};

// The gradient of the convolution's output, of one image, from that of the largest.
struct Spread {
  const Convolution& c;
  const Join& join;
  const float* dy;
  const unsigned char* places;

  // For the outputs from `first` to `last` into rows of `step` floats, one a place, of which `width` are written.
  PELLUCID_INLINE void write(long image, long first, long last, long step, long width, float* to) const {
    const long high = down(c, join), wide = across(c, join), line = c.out_width * step;
    if (high * join.rows < c.out_height || wide * join.columns < c.out_width)  // what no window covers has no gradient
      std::memset(to, 0, static_cast<size_t>(c.out_height * line) * 4);
    with_window(join, [&](auto window) {
      long at = image * high * wide * c.outputs + first;
      for (long i = 0; i < high; ++i)
        for (long j = 0; j < wide; ++j, at += c.outputs) {
          float* corner = to + i * window.rows() * line + j * window.columns() * step;
          for (long n = 0; n < width; n += kLanes) {
            const long left = last - first - n;
            const Vec here = left > 0 ? load_some(dy + at + n, left) : Vec{};
            const IntVec place = left > 0 ? load_bytes(places + at + n, left) : IntVec{};
            int number = 0;
            for (long u = 0; u < window.rows(); ++u)
              for (long v = 0; v < window.columns(); ++v, ++number)
                store_some(corner + u * line + v * step + n, place == number - IntVec{} ? here : Vec{}, width - n);
          }
        }
    });
  }

  const float* operator()(long image) const {  // as a source
    thread_local Scratch room;
    float* dense = room.room(c.out_height * c.out_width * c.outputs);
    write(image, 0, c.outputs, c.outputs, c.outputs, dense);
    return dense;
  }
  void operator()(long image, float* panels) const {
    const long stops = c.out_height * c.out_width;
    for (long o = 0; o < c.outputs; o += kTileColumns)
      write(image, o, c.outputs, kTileColumns, kTileColumns, panels + o * stops);
  }
};

void convolve_join(Parallel& pool, const Convolution& c, const Join& join, const float* x, const float* w,
                   const float* bias, float* y, unsigned char* places) {
  const long line = c.out_width * c.outputs;
  convolve_to(pool, c, x, w, bias, Largest(c, join, y, places), line > 0 ? kBand / line : 1);
}

void convolve_join_dx(Parallel& pool, const Convolution& c, const Join& join, const float* dy,
                      const unsigned char* places, const float* w, float* dx) {
  convolve_dx_of(pool, c, Spread{c, join, dy, places}, w, dx);
}

void convolve_join_dw(Parallel& pool, const Convolution& c, const Join& join, const float* x, const float* dy,
                      const unsigned char* places, float* dw, float* db) {
  convolve_dw_of(pool, c, x, Spread{c, join, dy, places}, dw, db);
}

void relu_largest(Parallel& pool, const Convolution& c, const Join& join, const float* x, float* y,
                  unsigned char* places) {
  const Largest keep(c, join, y, places);
  pool.each(c.batch, [&](long image) {
    keep.done(image * c.out_height, c.out_height, x + image * c.out_height * c.out_width * c.outputs);
  });
}

void relu_largest_dx(Parallel& pool, const Convolution& c, const Join& join, const float* dy,
                     const unsigned char* places, float* dx) {
  const Spread spread{c, join, dy, places};
  pool.each(c.batch, [&](long image) {
    spread.write(image, 0, c.outputs, c.outputs, c.outputs, dx + image * c.out_height * c.out_width * c.outputs);
  });
}
