// Convolutions and their gradients, each in the way that fits its shape: by frames (`winograd.h`) or plainly
// (`convolve.h`).

inline Straight straight(const Convolution& c, float* y) { return {y, c.out_width * c.outputs}; }

template <typename Source, typename Sink>
inline void convolve_any(Parallel& pool, const Convolution& c, const Source& source, const float* w, const float* bias,
                         const Sink& sink, long most) {
  const bool frames = by_frames(c);
  const long taps = c.rows * c.columns * c.channels;
  Scratch panels(frames ? windows_size(c.channels, c.outputs) : taps * panel_columns(c.outputs));
  if (frames) {
    transform_window(pool, w, c.channels, c.outputs, panels.data());
    convolve_frames(pool, c, source, panels.data(), bias, sink, most);
  } else {
    pack(w, taps, c.outputs, c.outputs, 1, kTileColumns, panels.data());
    convolve_packed(pool, c, source, panels.data(), bias, sink, most);
  }
}

template <typename Sink>
inline void convolve_to(Parallel& pool, const Convolution& c, const float* x, const float* w, const float* bias,
                        const Sink& sink, long most) {
  convolve_any(pool, c, Plainly{x, c.height * c.width * c.channels}, w, bias, sink, most);
}

void convolve(Parallel& pool, const Convolution& c, const float* x, const float* w, const float* bias, float* y) {
  convolve_to(pool, c, x, w, bias, straight(c, y), c.out_height);
}

// With stride 1 the gradient of x is again a convolution: of dy, with w turned round.
template <typename Source>
inline void convolve_dx_dense(Parallel& pool, const Convolution& c, const Source& dy, const float* w, float* dx) {
  Convolution back = c;
  back.height = c.out_height, back.width = c.out_width, back.channels = c.outputs;
  back.out_height = c.height, back.out_width = c.width, back.outputs = c.channels;
  back.pad_top = (c.rows - 1) * c.dilation_rows - c.pad_top;
  back.pad_left = (c.columns - 1) * c.dilation_columns - c.pad_left;
  const long places = c.rows * c.columns;
  Scratch turned(places * c.outputs * c.channels);
  constexpr long kBlock = 16;  // of a transpose, whose cache lines are then used up while they are there
  pool.each(places, [&](long place) {  // [u, v, c, o] -> [-u, -v, o, c]
    float* to = turned.data() + (places - 1 - place) * c.outputs * c.channels;
    const float* from = w + place * c.channels * c.outputs;
    for (long m = 0; m < c.channels; m += kBlock)
      for (long p = 0; p < c.outputs; p += kBlock)
        for (long n = m; n < c.channels && n < m + kBlock; ++n)
          for (long o = p; o < c.outputs && o < p + kBlock; ++o) to[o * c.channels + n] = from[n * c.outputs + o];
  });
  convolve_any(pool, back, dy, turned.data(), nullptr, straight(back, dx), back.out_height);
}

template <typename Source>
inline void convolve_dx_of(Parallel& pool, const Convolution& c, const Source& dy, const float* w, float* dx) {
  if (c.stride_rows == 1 && c.stride_columns == 1) return convolve_dx_dense(pool, c, dy, w, dx);
  convolve_dx_strided(pool, c, dy, w, dx);
}

void convolve_dx(Parallel& pool, const Convolution& c, const float* dy, const float* w, float* dx) {
  convolve_dx_of(pool, c, Plainly{dy, c.out_height * c.out_width * c.outputs}, w, dx);
}

template <typename Panels>
inline void convolve_dw_of(Parallel& pool, const Convolution& c, const float* x, const Panels& fill, float* dw,
                           float* db) {
  if (by_frames(c)) return convolve_dw_frames(pool, c, x, fill, dw, db);
  convolve_dw_plainly(pool, c, x, fill, dw, db);
}

void convolve_dw(Parallel& pool, const Convolution& c, const float* x, const float* dy, float* dw, float* db) {
  convolve_dw_of(pool, c, x, Packed{c, dy}, dw, db);
}
