// The largest of each window of a channels-last image, and its gradient. A NaN in a window is its largest.

// Calls body(offset into the image) for the window's places that lie within the image, row by row.
template <typename Body>
PELLUCID_INLINE void places(const Pooling& p, long i, long j, Body body) {
  for (long u = 0; u < p.rows; ++u) {
    const long y = i * p.stride_rows + u - p.pad_top;
    if (y < 0 || y >= p.height) continue;
    for (long v = 0; v < p.columns; ++v) {
      const long x = j * p.stride_columns + v - p.pad_left;
      if (x >= 0 && x < p.width) body((y * p.width + x) * p.channels);
    }
  }
}

PELLUCID_INLINE Vec larger(Vec best, Vec here) { return ((here > best) | (here != here)) ? here : best; }

void largest(Parallel& pool, const Pooling& p, const float* x, float* y) {
  pool.each(p.batch, [&](long image) {
    const float* from = x + image * p.height * p.width * p.channels;
    float* to = y + image * p.out_height * p.out_width * p.channels;
    for (long i = 0; i < p.out_height; ++i)
      for (long j = 0; j < p.out_width; ++j, to += p.channels)
        for (long n = 0; n < p.channels; n += kLanes) {
          Vec best = splat(-__builtin_inff());
          places(p, i, j, [&](long at) { best = larger(best, load_some(from + at + n, p.channels - n)); });
          store_some(to + n, best, p.channels - n);
        }
  });
}

void largest_dx(Parallel& pool, const Pooling& p, const float* x, const float* dy, float* dx) {
  pool.each(p.batch, [&](long image) {
    const long size = p.height * p.width * p.channels;
    const float* from = x + image * size;
    const float* gradient = dy + image * p.out_height * p.out_width * p.channels;
    float* to = dx + image * size;
    std::memset(to, 0, static_cast<size_t>(size) * 4);
    for (long i = 0; i < p.out_height; ++i)
      for (long j = 0; j < p.out_width; ++j, gradient += p.channels)
        for (long n = 0; n < p.channels; n += kLanes) {
          const long left = p.channels - n;
          Vec best = splat(-__builtin_inff());
          places(p, i, j, [&](long at) { best = larger(best, load_some(from + at + n, left)); });
          Vec rest = load_some(gradient + n, left);  // what has not found its place yet
          places(p, i, j, [&](long at) {
            const Vec here = load_some(from + at + n, left);
            const auto found = (here == best) | ((here != here) & (best != best));
            const Vec given = found ? rest : Vec{};
            rest = found ? Vec{} : rest;
            store_some(to + at + n, load_some(to + at + n, left) + given, left);
          });
        }
  });
}
