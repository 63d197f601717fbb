// A convolution, ReLU and the largest of windows that lie side by side, as one. What lies between them stays in the
// processor's cache: to memory go the largest and, for the way back, a byte that says which place of the window held it.

constexpr unsigned char kNowhere = 255;  // ReLU gave 0: no place has a gradient
constexpr long kBand = 1 << 15;          // floats of the convolution's output that are made at a time

inline long down(const Convolution& c, const Join& join) { return c.out_height / join.rows; }
inline long across(const Convolution& c, const Join& join) { return c.out_width / join.columns; }

PELLUCID_INLINE void store_bytes(unsigned char* p, IntVec v, long n) {
  const ByteVec bytes = __builtin_convertvector(v, ByteVec);
  std::memcpy(p, &bytes, static_cast<size_t>(n < kLanes ? n : kLanes));
}
PELLUCID_INLINE IntVec load_bytes(const unsigned char* p, long n) {
  ByteVec bytes = {};
  std::memcpy(&bytes, p, static_cast<size_t>(n < kLanes ? n : kLanes));
  return __builtin_convertvector(bytes, IntVec);
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
    const long high = down(c, join), wide = across(c, join), line = c.out_width * c.outputs;
    for (long r = 0; r < rows; ++r) {
      const long image = (first + r) / c.out_height, i = (first + r) % c.out_height;
      if (i % join.rows != 0 || i / join.rows >= high) continue;
      const long to = (image * high + i / join.rows) * wide * c.outputs;
      for (long j = 0; j < wide; ++j)
        pick(from + r * line + j * join.columns * c.outputs, line, to + j * c.outputs);
    }
  }

  PELLUCID_INLINE void pick(const float* from, long line, long to) const {
    for (long n = 0; n < c.outputs; n += kLanes) {
      const long left = c.outputs - n;
      Vec best = load_some(from + n, left);
      IntVec at = {};
      int number = 0;
      for (long u = 0; u < join.rows; ++u)
        for (long v = 0; v < join.columns; ++v, ++number) {
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

// The gradient of the convolution's output, of one image, from that of the largest: into an array of rows, `step`
// floats a place, for the outputs from `first` to `last`; `width` floats are written at each place.
struct Spread {
  const Convolution& c;
  const Join& join;
  const float* dy;
  const unsigned char* places;

  PELLUCID_INLINE void write(long image, long first, long last, long step, long width, float* to) const {
    const long high = down(c, join), wide = across(c, join);
    for (long i = 0; i < c.out_height; ++i) {
      const long row = i / join.rows;
      long at = (image * high + row) * wide * c.outputs + first;
      const int line = static_cast<int>(i % join.rows * join.columns);
      for (long j = 0, v = 0; j < c.out_width; ++j, to += step) {
        const bool under = row < high && j < wide * join.columns;
        for (long n = 0; n < width; n += kLanes) {
          const long left = last - first - n;
          Vec given = {};
          if (under && left > 0) {
            const Vec here = load_some(dy + at + n, left);
            given = load_bytes(places + at + n, left) == line + static_cast<int>(v) - IntVec{} ? here : Vec{};
          }
          store_some(to + n, given, width - n);
        }
        if (++v == join.columns) v = 0, at += c.outputs;
      }
    }
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
