// The kernels as XLA's custom calls, on XLA's own threads.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "crew.h"
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using namespace pellucid;

namespace {

// What the caller and those who help it share. It outlives the call, for a helper may come when all is done.
struct Work {
  std::atomic<long> next{0}, left;
  long n;
  void (*task)(void*, long);
  void* of;
  std::mutex lock;
  std::condition_variable over;
  std::exception_ptr failed;

  Work(long n, void (*task)(void*, long), void* of) : left(n), n(n), task(task), of(of) {}

  void help() {
    for (long i; (i = next.fetch_add(1)) < n;) {
      try {
        task(of, i);
      } catch (...) {
        std::lock_guard<std::mutex> held(lock);
        failed = std::current_exception();
      }
      if (left.fetch_sub(1) == 1) {
        std::lock_guard<std::mutex> held(lock);
        over.notify_all();
      }
    }
  }

  void wait() {
    for (int spin = 0; spin < 2000 && left.load(std::memory_order_acquire) > 0; ++spin) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    std::unique_lock<std::mutex> held(lock);
    over.wait(held, [&] { return left.load() == 0; });
    if (failed) std::rethrow_exception(failed);
  }
};

// The caller works too, so that nothing hangs where all of XLA's threads are busy.
class Pool final : public Parallel {
 public:
  explicit Pool(ffi::ThreadPool& pool) : pool_(pool), threads_(static_cast<int>(pool.num_threads())) {}
  int threads() const override { return threads_ > 0 ? threads_ : 1; }
  void run(long n, void (*task)(void*, long), void* of) override {
    const long helpers = (n < threads() ? n : threads()) - 1;
    if (helpers < 1) {
      for (long i = 0; i < n; ++i) task(of, i);
      return;
    }
    auto work = std::make_shared<Work>(n, task, of);
    for (long i = 0; i < helpers; ++i) pool_.Schedule([work] { work->help(); });
    work->help();
    work->wait();
  }

 private:
  ffi::ThreadPool& pool_;
  int threads_;
};

using Floats = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;
using Numbers = ffi::Span<const int64_t>;

float* at(const Floats& b) { return b.element_count() == 0 ? nullptr : static_cast<float*>(b.untyped_data()); }
float* at(Result& b) { return at(*b); }

// Where a result is to be written over an argument, and XLA gave it memory of its own all the same.
float* over(const Floats& from, Result& to) {
  float* const here = at(to);
  if (here != at(from)) std::memcpy(here, at(from), from.size_bytes());
  return here;
}

template <typename Body>
ffi::Error guarded(Body body) {
  try {
    body();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

template <typename Body>
ffi::Error guarded(ffi::ThreadPool& threads, Body body) {
  return guarded([&] {
    Pool pool(threads);
    body(pool);
  });
}

// numbers: stride, dilation, padding before, each (rows, columns)
Convolution convolution(Numbers g, ffi::Span<const int64_t> x, ffi::Span<const int64_t> w, ffi::Span<const int64_t> y) {
  Convolution c{};
  c.batch = x[0], c.height = x[1], c.width = x[2], c.channels = x[3];
  c.out_height = y[1], c.out_width = y[2], c.outputs = y[3];
  c.rows = w[0], c.columns = w[1];
  c.stride_rows = g[0], c.stride_columns = g[1], c.dilation_rows = g[2], c.dilation_columns = g[3];
  c.pad_top = g[4], c.pad_left = g[5];
  return c;
}

ffi::Error convolve(ffi::ThreadPool threads, Numbers g, Floats x, Floats w, Floats bias, Result y) {
  return guarded(threads, [&](Pool& pool) {
    const auto c = convolution(g, x.dimensions(), w.dimensions(), y->dimensions());
    kernels().convolve(pool, c, at(x), at(w), at(bias), at(y));
  });
}

ffi::Error convolve_dx(ffi::ThreadPool threads, Numbers g, Floats dy, Floats w, Result dx) {
  return guarded(threads, [&](Pool& pool) {
    const auto c = convolution(g, dx->dimensions(), w.dimensions(), dy.dimensions());
    kernels().convolve_dx(pool, c, at(dy), at(w), at(dx));
  });
}

ffi::Error convolve_dw(ffi::ThreadPool threads, Numbers g, Floats x, Floats dy, Result dw, Result db) {
  return guarded(threads, [&](Pool& pool) {
    const auto c = convolution(g, x.dimensions(), dw->dimensions(), dy.dimensions());
    kernels().convolve_dw(pool, c, at(x), at(dy), at(dw), at(db));
  });
}

// numbers: of the convolution; then rows and columns of the window, and whether ReLU stands before it
Join join(Numbers g) { return {g[6], g[7], g[8] != 0}; }

unsigned char* bytes(const Floats& b) {
  return b.element_count() == 0 ? nullptr : static_cast<unsigned char*>(b.untyped_data());
}

// out: height and width of the convolution's output, which is nowhere as a whole
Convolution unjoined(Numbers g, ffi::Span<const int64_t> x, ffi::Span<const int64_t> w) {
  const int64_t y[4] = {x[0], g[9], g[10], w[3]};
  return convolution(g, x, w, ffi::Span<const int64_t>(y, 4));
}

// An array as if it were a convolution's output.
Convolution image(ffi::Span<const int64_t> shape) {
  Convolution c{};
  c.batch = shape[0], c.out_height = shape[1], c.out_width = shape[2], c.outputs = shape[3];
  return c;
}

ffi::Error convolve_join(ffi::ThreadPool threads, Numbers g, Floats x, Floats w, Floats bias, Result y,
                         Result places) {
  return guarded(threads, [&](Pool& pool) {
    const auto c = unjoined(g, x.dimensions(), w.dimensions());
    kernels().convolve_join(pool, c, join(g), at(x), at(w), at(bias), at(y), bytes(*places));
  });
}

ffi::Error convolve_join_dx(ffi::ThreadPool threads, Numbers g, Floats dy, Floats places, Floats w, Result dx) {
  return guarded(threads, [&](Pool& pool) {
    const auto c = unjoined(g, dx->dimensions(), w.dimensions());
    kernels().convolve_join_dx(pool, c, join(g), at(dy), bytes(places), at(w), at(dx));
  });
}

ffi::Error convolve_join_dw(ffi::ThreadPool threads, Numbers g, Floats x, Floats dy, Floats places, Result dw,
                            Result db) {
  return guarded(threads, [&](Pool& pool) {
    const auto c = unjoined(g, x.dimensions(), dw->dimensions());
    kernels().convolve_join_dw(pool, c, join(g), at(x), at(dy), bytes(places), at(dw), at(db));
  });
}

// numbers: rows and columns of the window, and whether ReLU stands before it
ffi::Error relu_largest(ffi::ThreadPool threads, Numbers g, Floats x, Result y, Result places) {
  return guarded(threads, [&](Pool& pool) {
    kernels().relu_largest(pool, image(x.dimensions()), {g[0], g[1], g[2] != 0}, at(x), at(y), bytes(*places));
  });
}

ffi::Error relu_largest_dx(ffi::ThreadPool threads, Numbers g, Floats dy, Floats places, Result dx) {
  return guarded(threads, [&](Pool& pool) {
    kernels().relu_largest_dx(pool, image(dx->dimensions()), {g[0], g[1], g[2] != 0}, at(dy), bytes(places), at(dx));
  });
}

const bool* truths(const Floats& b) {
  return b.element_count() == 0 ? nullptr : static_cast<const bool*>(b.untyped_data());
}

ffi::Error batch_norm(ffi::ThreadPool threads, Numbers g, float epsilon, Floats x, Floats scale, Floats bias,
                      Floats mask, Result y, Result places, Result mean, Result var) {
  return guarded(threads, [&](Pool& pool) {
    const NormForward f{epsilon, at(x), at(scale), at(bias), truths(mask), at(y), bytes(*places), at(mean), at(var)};
    kernels().batch_norm(pool, image(x.dimensions()), {g[0], g[1], g[2] != 0}, f);
  });
}

ffi::Error batch_norm_back(ffi::ThreadPool threads, Numbers g, float epsilon, Floats x, Floats scale, Floats mean,
                           Floats var, Floats mask, Floats dy, Floats places, Result dx, Result dscale,
                           Result dbias) {
  return guarded(threads, [&](Pool& pool) {
    const NormBackward b{epsilon, at(x),         at(scale),     at(mean), at(var), at(dy),
                         truths(mask), bytes(places), at(dx),   at(dscale), at(dbias)};
    kernels().batch_norm_back(pool, image(x.dimensions()), {g[0], g[1], g[2] != 0}, b);
  });
}

Density density(const Floats& x, const Floats& y) {
  return {x.dimensions()[0], x.dimensions()[1], y.dimensions()[1]};
}

ffi::Error dense(ffi::ThreadPool threads, Floats x, Floats w, Floats bias, Result y) {
  return guarded(threads, [&](Pool& pool) { kernels().dense(pool, density(x, *y), at(x), at(w), at(bias), at(y)); });
}

ffi::Error dense_bend(ffi::ThreadPool threads, int64_t bend, Floats x, Floats w, Floats bias, Result y, Result slope) {
  return guarded(threads, [&](Pool& pool) {
    kernels().dense_bend(pool, density(x, *y), static_cast<Bend>(bend), at(x), at(w), at(bias), at(y), at(slope));
  });
}

ffi::Error bend(ffi::ThreadPool threads, int64_t how, Floats z, Result y, Result slope) {
  return guarded(threads, [&](Pool& pool) {
    kernels().bend(pool, static_cast<Bend>(how), static_cast<long>(z.element_count()), at(z), at(y), at(slope));
  });
}

ffi::Error dense_dw(ffi::ThreadPool threads, Floats x, Floats dy, Result dw, Result db) {
  return guarded(threads, [&](Pool& pool) {
    kernels().dense_dw(pool, density(x, dy), at(x), at(dy), at(dw), at(db));
  });
}

// numbers: size, stride, padding before, each (rows, columns)
Pooling pooling(Numbers g, ffi::Span<const int64_t> x, ffi::Span<const int64_t> y) {
  Pooling p{};
  p.batch = x[0], p.height = x[1], p.width = x[2], p.channels = x[3];
  p.out_height = y[1], p.out_width = y[2];
  p.rows = g[0], p.columns = g[1], p.stride_rows = g[2], p.stride_columns = g[3], p.pad_top = g[4], p.pad_left = g[5];
  return p;
}

ffi::Error largest(ffi::ThreadPool threads, Numbers g, Floats x, Result y) {
  return guarded(threads, [&](Pool& pool) {
    kernels().largest(pool, pooling(g, x.dimensions(), y->dimensions()), at(x), at(y));
  });
}

ffi::Error largest_dx(ffi::ThreadPool threads, Numbers g, Floats x, Floats dy, Result dx) {
  return guarded(threads, [&](Pool& pool) {
    kernels().largest_dx(pool, pooling(g, x.dimensions(), dy.dimensions()), at(x), at(dy), at(dx));
  });
}

// h: [steps, batch, width]
Recurrence recurrence(int64_t cell, bool backwards, ffi::Span<const int64_t> h) {
  return {static_cast<Cell>(cell), h[0], h[1], h[2], backwards};
}

ffi::Error recur(ffi::ThreadPool threads, int64_t cell, bool backwards, Floats z, Floats u, Floats v, Floats h0,
                 Floats c0, Floats valid, Result h, Result c, Result gates, Result fed) {
  return guarded(threads, [&](Pool& pool) {
    const RecurrentForward f{at(z),  at(u), at(v), at(h0),    at(c0), truths(valid),
                             at(h), at(c), at(gates), at(fed)};
    kernels().recur(pool, recurrence(cell, backwards, h->dimensions()), f);
  });
}

ffi::Error recur_back(ffi::ThreadPool threads, int64_t cell, bool backwards, Floats u, Floats h, Floats c,
                      Floats gates, Floats fed, Floats h0, Floats c0, Floats valid, Floats dh, Floats dh_last,
                      Floats dc_last, Result dz, Result dr, Result dh0, Result dc0) {
  return guarded(threads, [&](Pool& pool) {
    const RecurrentBackward b{at(u),         at(h),  at(c),       at(gates),   at(fed), at(h0), at(c0),
                              truths(valid), at(dh), at(dh_last), at(dc_last), at(dz),  at(dr), at(dh0),
                              at(dc0)};
    kernels().recur_back(pool, recurrence(cell, backwards, h.dimensions()), b);
  });
}

// over the last axis
RowNorm row_norm_of(float epsilon, ffi::Span<const int64_t> x) {
  long rows = 1;
  for (size_t i = 0; i + 1 < x.size(); ++i) rows *= static_cast<long>(x[i]);
  return {rows, static_cast<long>(x[x.size() - 1]), epsilon};
}

ffi::Error row_norm(ffi::ThreadPool threads, float epsilon, Floats x, Floats scale, Floats bias, Result y) {
  return guarded(threads, [&](Pool& pool) {
    kernels().row_norm(pool, row_norm_of(epsilon, x.dimensions()), at(x), at(scale), at(bias), at(y));
  });
}

ffi::Error row_norm_back(ffi::ThreadPool threads, float epsilon, Floats x, Floats scale, Floats dy, Result dx,
                         Result dscale, Result dbias) {
  return guarded(threads, [&](Pool& pool) {
    kernels().row_norm_back(pool, row_norm_of(epsilon, x.dimensions()), at(x), at(scale), at(dy), at(dx), at(dscale),
                            at(dbias));
  });
}

// mixed: [batch, steps, 3 * heads * width]
Attention attention(int64_t heads, bool causal, ffi::Span<const int64_t> mixed) {
  return {static_cast<long>(mixed[0]), static_cast<long>(mixed[1]), static_cast<long>(heads),
          static_cast<long>(mixed[2] / 3 / heads), causal};
}

ffi::Error attend(ffi::ThreadPool threads, int64_t heads, bool causal, Floats mixed, Result y) {
  return guarded(threads, [&](Pool& pool) {
    kernels().attend(pool, attention(heads, causal, mixed.dimensions()), at(mixed), at(y));
  });
}

ffi::Error attend_back(ffi::ThreadPool threads, int64_t heads, bool causal, Floats mixed, Floats dy, Result dmixed) {
  return guarded(threads, [&](Pool& pool) {
    kernels().attend_back(pool, attention(heads, causal, mixed.dimensions()), at(mixed), at(dy), at(dmixed));
  });
}

constexpr long kWorth = 1 << 15;  // multiplications of a step forward that are worth a thread

// widths: inputs, then each layer's outputs; bends: of each layer; kinds: loss, rule, whether decay is decoupled;
// watched: three numbers for each (see `Watched`); every: of w and b in turn. counts: segments, number of the first
// batch, examples before `order`. settings: decay, momentum, b1, b2, eps, smoothing. Then weights and biases of each
// layer in turn (a bias may be empty), all first moments, all second ones.
ffi::Error dense_steps(ffi::ThreadPool threads, Numbers widths, Numbers bends, Numbers kinds, int64_t batch,
                       int64_t examples, Numbers watched, Numbers every, Floats x, Floats y, Floats order, Floats mean,
                       Floats scale, Floats segments, Floats counts, Floats settings, Floats rates, Floats sums,
                       ffi::RemainingArgs given, Result losses, Result activation, Result gradient, Result weights,
                       Result squares, Result new_sums, ffi::RemainingRets moved) {
  DenseSteps s{};
  s.layers = static_cast<long>(bends.size());
  std::vector<long> wide(widths.begin(), widths.end());
  std::vector<Bend> bent;
  for (const int64_t bend : bends) bent.push_back(static_cast<Bend>(bend));
  s.widths = wide.data(), s.bends = bent.data();
  s.loss = static_cast<DenseLoss>(kinds[0]), s.rule = static_cast<DenseRule>(kinds[1]), s.decoupled = kinds[2] != 0;
  const float* set = at(settings);
  s.decay = set[0], s.momentum = set[1], s.b1 = set[2], s.b2 = set[3], s.eps = set[4], s.smoothing = set[5];
  const int* count = static_cast<const int*>(counts.untyped_data());
  s.batch = batch, s.examples = examples;
  s.segments = static_cast<const int*>(segments.untyped_data());
  s.held = segments.dimensions()[0], s.count = count[0], s.position = count[1], s.skipped = count[2];
  s.bytes = x.element_type() == ffi::DataType::U8;
  s.x = x.untyped_data(), s.y = y.untyped_data();
  s.order = order.element_count() == 0 ? nullptr : static_cast<const int*>(order.untyped_data());
  s.mean = at(mean), s.scale = at(scale), s.means = static_cast<long>(mean.element_count());
  s.rates = at(rates), s.most = rates.dimensions()[1];
  std::vector<Watched> looked_at;
  for (size_t i = 0; i + 2 < watched.size(); i += 3) {
    const auto number = [&](size_t k) { return static_cast<long>(watched[i + k]); };
    looked_at.push_back({number(0), number(1), number(2)});
  }
  const std::vector<long> strides(every.begin(), every.end());
  s.watched = looked_at.data(), s.watches = static_cast<long>(looked_at.size()), s.every = strides.data();
  s.activation = at(activation), s.gradient = at(gradient), s.weights = at(weights), s.squares = at(squares);
  std::vector<float*> arrays(given.size());
  for (size_t i = 0; i < given.size(); ++i) {
    const auto from = given.get<ffi::AnyBuffer>(i);
    const auto to = moved.get<ffi::AnyBuffer>(i);
    if (from.has_error() || to.has_error()) return ffi::Error::InvalidArgument("dense_steps: not an array");
    Result result = *to;
    arrays[i] = over(*from, result);
  }
  std::vector<float*> w, b;
  for (long l = 0; l < s.layers; ++l) w.push_back(arrays[2 * l]), b.push_back(arrays[2 * l + 1]);
  s.w = w.data(), s.b = b.data();
  const size_t kept = 2 * static_cast<size_t>(s.layers);
  s.m = arrays.size() > kept ? arrays.data() + kept : nullptr;
  s.v = arrays.size() > 2 * kept ? arrays.data() + 2 * kept : nullptr;
  s.sums = over(sums, new_sums), s.losses = at(losses);
  return guarded([&] {
    const long here = std::min<long>(static_cast<long>(threads.num_threads()), std::min(allowed(), kMostThreads));
    const long most = std::max<long>(1, std::min<long>(here, s.work() / kWorth));
    Crew crew(most);
    crew.call(most, [&](auto help) { return threads.Schedule(std::move(help)), true; });
    kernels().dense_steps(crew, s);
  });
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const char* pellucid_isa() { return kernels().name; }

// raised with every change of what a name takes or gives: the Python side refuses a library of another number
extern "C" __attribute__((visibility("default"))) int pellucid_version() { return 10; }

#pragma GCC visibility push(default)

#define PELLUCID_CALL(name, binding) \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(pellucid_##name, name, binding)

PELLUCID_CALL(convolve, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>().Arg<Floats>()
                            .Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(convolve_dx, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                               .Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(convolve_dw, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                               .Arg<Floats>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(convolve_join, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                                 .Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(convolve_join_dx, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                                    .Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(convolve_join_dw, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                                    .Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(relu_largest, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                                .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(relu_largest_dx, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                                   .Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(batch_norm, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Attr<float>("epsilon")
                              .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>()
                              .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(batch_norm_back, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry")
                                   .Attr<float>("epsilon").Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                                   .Arg<Floats>().Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>()
                                   .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(dense, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                         .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(dense_bend, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("bend").Arg<Floats>().Arg<Floats>()
                              .Arg<Floats>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(bend, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("bend").Arg<Floats>().Ret<ffi::AnyBuffer>()
                        .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(dense_dw, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>()
                            .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(largest, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                           .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(largest_dx, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("geometry").Arg<Floats>()
                              .Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(recur, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("cell").Attr<bool>("backwards")
                         .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                         .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(recur_back, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("cell").Attr<bool>("backwards")
                              .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                              .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                              .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
                              .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(row_norm, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<float>("epsilon").Arg<Floats>().Arg<Floats>()
                            .Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(row_norm_back, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<float>("epsilon").Arg<Floats>()
                                 .Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
                                 .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(attend, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("heads").Attr<bool>("causal").Arg<Floats>()
                          .Ret<ffi::AnyBuffer>());
PELLUCID_CALL(attend_back, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("heads").Attr<bool>("causal")
                               .Arg<Floats>().Arg<Floats>().Ret<ffi::AnyBuffer>());
PELLUCID_CALL(dense_steps, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Numbers>("widths").Attr<Numbers>("bends")
                               .Attr<Numbers>("kinds").Attr<int64_t>("batch").Attr<int64_t>("examples")
                               .Attr<Numbers>("watched").Attr<Numbers>("every").Arg<Floats>().Arg<Floats>()
                               .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
                               .Arg<Floats>().Arg<Floats>().RemainingArgs().Ret<ffi::AnyBuffer>()
                               .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
                               .Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().RemainingRets());

#pragma GCC visibility pop
