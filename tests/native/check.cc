// Every kernel against a plain double-precision loop, over drawn shapes, threads and alignments; arrays are exactly as
// long as they must be, so that an address sanitizer sees every step beyond them.
//
//     check [base|avx2|avx512] [cases] [seed]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels.h"

using namespace pellucid;

namespace {

std::mt19937 random_bits;

long draw(long low, long high) { return std::uniform_int_distribution<long>(low, high)(random_bits); }

// As many threads as said; task i goes to thread i % n, so that the sharing out itself is tested.
class Threads final : public Parallel {
 public:
  explicit Threads(int n) : n_(n) {}
  int threads() const override { return n_; }
  void run(long n, void (*task)(void*, long), void* of) override {
    std::vector<std::thread> all;
    for (int t = 0; t < n_; ++t)
      all.emplace_back([=] {
        for (long i = t; i < n; i += n_) task(of, i);
      });
    for (auto& thread : all) thread.join();
  }

 private:
  int n_;
};

// Floats that begin 0, 4, 8 or 12 bytes off an allocation's start and end where it ends.
struct Array {
  std::unique_ptr<float[]> memory;
  float* p;
  long n;
  explicit Array(long n, double fill = 1e30) : n(n) {
    const long shift = draw(0, 3);
    memory.reset(new float[n + shift]);
    p = memory.get() + shift;
    for (long i = 0; i < n; ++i) p[i] = static_cast<float>(fill);
  }
  Array& drawn(double scale = 1) {
    std::normal_distribution<float> normal(0, static_cast<float>(scale));
    for (long i = 0; i < n; ++i) p[i] = normal(random_bits);
    return *this;
  }
};

int failures = 0;

void compare(const char* what, const Array& got, const std::vector<double>& want, const std::string& shape,
             double least = 2e-5) {
  double scale = 1e-6, worst = 0;
  for (double v : want) scale = std::fmax(scale, std::fabs(v));
  for (long i = 0; i < got.n; ++i) {
    const double off = std::fabs(got.p[i] - want[i]) / scale;
    worst = off <= worst ? worst : off;  // NaN counts as worse
  }
  if (!(worst < least)) {
    std::printf("%s: off by %.2g of the largest, %s\n", what, worst, shape.c_str());
    ++failures;
  }
}

template <typename... Numbers>
std::string shown(Numbers... numbers) {
  std::string all;
  ((all += std::to_string(numbers) + " "), ...);
  return all;
}

// What follows a convolution at once, beside the convolution's output `all` in double precision.
void check_join(const Kernels& k, Parallel& pool, const Convolution& c, const Array& x, const Array& w,
                const Array& bias, const std::vector<double>& all) {
  const Join join{draw(1, std::min(3L, c.out_height)), draw(1, std::min(3L, c.out_width)), draw(0, 1) == 1};
  const long high = c.out_height / join.rows, wide = c.out_width / join.columns, n = c.batch * high * wide * c.outputs;
  Array y(n), dy(n), dx(x.n), dw(w.n), db(c.outputs), alone(n);
  Array dense(all.size(), 0), tdx(x.n), tdw(w.n), tdb(c.outputs);
  std::unique_ptr<unsigned char[]> places(new unsigned char[n]);
  dy.drawn();
  std::vector<double> ty(n);
  for (long b = 0; b < c.batch; ++b)
    for (long i = 0; i < high; ++i)
      for (long j = 0; j < wide; ++j)
        for (long o = 0; o < c.outputs; ++o) {
          const long at = ((b * high + i) * wide + j) * c.outputs + o;
          long best = -1;
          double second = join.relu ? 0 : -1e30;
          for (long u = 0; u < join.rows; ++u)
            for (long v = 0; v < join.columns; ++v) {
              const long r = i * join.rows + u, s = j * join.columns + v;
              const long yi = ((b * c.out_height + r) * c.out_width + s) * c.outputs + o;
              if (best >= 0) second = std::max(second, std::min(all[yi], all[best]));
              if (best < 0 || all[yi] > all[best]) best = yi;
            }
          if (std::fabs(all[best] - second) < 1e-3) dy.p[at] = 0;  // rounding decides where the gradient goes
          const bool dead = join.relu && all[best] <= 0;
          ty[at] = dead ? 0 : all[best];
          if (!dead) dense.p[best] = dy.p[at];
        }
  k.convolve_join(pool, c, join, x.p, w.p, bias.p, y.p, places.get());
  k.convolve_join(pool, c, join, x.p, w.p, bias.p, alone.p, nullptr);
  k.convolve_join_dx(pool, c, join, dy.p, places.get(), w.p, dx.p);
  k.convolve_join_dw(pool, c, join, x.p, dy.p, places.get(), dw.p, db.p);
  if (join.relu) {  // the same of the output as an array
    Array z(all.size()), y2(n), dz(all.size());
    for (size_t i = 0; i < all.size(); ++i) z.p[i] = static_cast<float>(all[i]);
    k.relu_largest(pool, c, join, z.p, y2.p, places.get());
    k.relu_largest_dx(pool, c, join, dy.p, places.get(), dz.p);
    const auto shape = shown(c.batch, c.out_height, c.out_width, c.outputs, join.rows, join.columns);
    compare("relu_largest", y2, ty, shape);
    compare("relu_largest_dx", dz, std::vector<double>(dense.p, dense.p + dense.n), shape);
  }
  k.convolve_dx(pool, c, dense.p, w.p, tdx.p);  // held to plain loops below
  k.convolve_dw(pool, c, x.p, dense.p, tdw.p, tdb.p);
  auto doubles = [](const Array& a) { return std::vector<double>(a.p, a.p + a.n); };
  const auto shape = shown(c.batch, c.height, c.width, c.channels, c.outputs, c.rows, c.columns, c.stride_rows,
                           c.stride_columns, join.rows, join.columns, join.relu);
  compare("convolve_join", y, ty, shape), compare("convolve_join, alone", alone, ty, shape);
  compare("convolve_join_dx", dx, doubles(tdx), shape);
  compare("convolve_join_dw", dw, doubles(tdw), shape), compare("convolve_join_db", db, doubles(tdb), shape);
}

// common: the window that most networks have, which has kernels of its own.
void check_convolution(const Kernels& k, Parallel& pool, bool common) {
  Convolution c{};
  c.batch = draw(1, 5), c.channels = draw(0, 3) ? draw(1, 40) : draw(1, 4), c.outputs = draw(1, 70);
  c.rows = draw(1, 4), c.columns = draw(1, 4);
  c.stride_rows = draw(1, 3), c.stride_columns = draw(1, 3);
  c.dilation_rows = draw(1, 2), c.dilation_columns = draw(1, 2);
  if (common) {
    c.batch = draw(1, 20), c.channels = draw(16, 50), c.outputs = draw(16, 70);
    if (draw(0, 3) == 0) c.batch = draw(1, 3), c.channels = draw(125, 140), c.outputs = draw(120, 150);
    c.rows = c.columns = 3, c.stride_rows = c.stride_columns = c.dilation_rows = c.dilation_columns = 1;
  }
  const long tall = (c.rows - 1) * c.dilation_rows + 1, wide = (c.columns - 1) * c.dilation_columns + 1;
  c.pad_top = draw(0, tall - 1), c.pad_left = draw(0, wide - 1);
  const long bottom = draw(0, tall - 1), right = draw(0, wide - 1);
  c.height = draw(tall, tall + 9), c.width = draw(wide, wide + 18);
  c.out_height = (c.height + c.pad_top + bottom - tall) / c.stride_rows + 1;
  c.out_width = (c.width + c.pad_left + right - wide) / c.stride_columns + 1;
  const long nx = c.batch * c.height * c.width * c.channels, nw = c.rows * c.columns * c.channels * c.outputs;
  const long ny = c.batch * c.out_height * c.out_width * c.outputs;
  Array x(nx), w(nw), bias(c.outputs), dy(ny), y(ny), dx(nx), dw(nw), db(c.outputs);
  x.drawn(), w.drawn(), bias.drawn(), dy.drawn();
  std::vector<double> ty(ny), tdx(nx), tdw(nw), tdb(c.outputs);
  for (long b = 0; b < c.batch; ++b)
    for (long i = 0; i < c.out_height; ++i)
      for (long j = 0; j < c.out_width; ++j)
        for (long o = 0; o < c.outputs; ++o) {
          const long at = ((b * c.out_height + i) * c.out_width + j) * c.outputs + o;
          ty[at] = bias.p[o], tdb[o] += dy.p[at];
          for (long u = 0; u < c.rows; ++u)
            for (long v = 0; v < c.columns; ++v) {
              const long r = i * c.stride_rows + u * c.dilation_rows - c.pad_top;
              const long s = j * c.stride_columns + v * c.dilation_columns - c.pad_left;
              if (r < 0 || r >= c.height || s < 0 || s >= c.width) continue;
              for (long n = 0; n < c.channels; ++n) {
                const long xi = ((b * c.height + r) * c.width + s) * c.channels + n;
                const long wi = ((u * c.columns + v) * c.channels + n) * c.outputs + o;
                ty[at] += double(x.p[xi]) * w.p[wi];
                tdx[xi] += double(dy.p[at]) * w.p[wi];
                tdw[wi] += double(dy.p[at]) * x.p[xi];
              }
            }
        }
  check_join(k, pool, c, x, w, bias, ty);
  k.convolve(pool, c, x.p, w.p, bias.p, y.p);
  k.convolve_dx(pool, c, dy.p, w.p, dx.p);
  k.convolve_dw(pool, c, x.p, dy.p, dw.p, db.p);
  const auto shape = shown(c.batch, c.height, c.width, c.channels, c.outputs, c.rows, c.columns, c.stride_rows,
                           c.stride_columns, c.dilation_rows, c.dilation_columns, c.pad_top, c.pad_left);
  compare("convolve", y, ty, shape), compare("convolve_dx", dx, tdx, shape);
  compare("convolve_dw", dw, tdw, shape), compare("convolve_db", db, tdb, shape);
}

void check_norm(const Kernels& k, Parallel& pool) {
  Convolution c{};
  c.batch = draw(1, 5), c.out_height = draw(1, 9), c.out_width = draw(1, 40), c.outputs = draw(1, 70);
  const bool joined = draw(0, 1) == 1;
  const Join join{joined ? draw(1, std::min(2L, c.out_height)) : 1, joined ? draw(1, std::min(2L, c.out_width)) : 1,
                  joined};
  const long high = c.out_height / join.rows, wide = c.out_width / join.columns;
  Array x(c.batch * c.out_height * c.out_width * c.outputs), scale(c.outputs), bias(c.outputs);
  Array y(c.batch * high * wide * c.outputs), dy(y.n);
  Array mean(c.outputs), var(c.outputs), dx(x.n), dscale(c.outputs), dbias(c.outputs);
  std::unique_ptr<unsigned char[]> places(new unsigned char[y.n]);
  x.drawn(), scale.drawn(), bias.drawn(), dy.drawn();
  const float shift = static_cast<float>(draw(-100, 100)), epsilon = 1e-5f;
  for (long i = 0; i < x.n; ++i) x.p[i] += shift;
  std::unique_ptr<bool[]> drawn(new bool[c.batch]);
  const bool* mask = draw(0, 1) ? drawn.get() : nullptr;  // of images that count
  const long image = c.out_height * c.out_width;
  long rows = 0;
  for (long i = 0; i < c.batch; ++i) drawn[i] = draw(0, 3) > 0, rows += !mask || mask[i] ? image : 0;
  const auto counts = [&](long i) { return !mask || mask[i / c.outputs / image]; };
  const double some = rows > 0 ? rows : 1;
  std::vector<double> tm(c.outputs), tv(c.outputs), z(x.n), g(x.n), ty(y.n), ts(c.outputs), tb(c.outputs), tdx(x.n);
  for (long i = 0; i < x.n; ++i) tm[i % c.outputs] += counts(i) ? double(x.p[i]) / some : 0;
  for (long i = 0; i < x.n; ++i) tv[i % c.outputs] += counts(i) ? std::pow(x.p[i] - tm[i % c.outputs], 2) / some : 0;
  const auto hat = [&](long i) { return (x.p[i] - tm[i % c.outputs]) / std::sqrt(tv[i % c.outputs] + epsilon); };
  for (long i = 0; i < x.n; ++i) z[i] = hat(i) * scale.p[i % c.outputs] + bias.p[i % c.outputs];
  for (long at = 0; at < y.n; ++at) {
    const long o = at % c.outputs, j = at / c.outputs % wide, i = at / c.outputs / wide % high, b = at / c.outputs / wide / high;
    long best = -1;
    double second = join.relu ? 0 : -1e30;
    for (long u = 0; u < join.rows; ++u)
      for (long v = 0; v < join.columns; ++v) {
        const long zi = ((b * c.out_height + i * join.rows + u) * c.out_width + j * join.columns + v) * c.outputs + o;
        if (best >= 0) second = std::max(second, std::min(z[zi], z[best]));
        if (best < 0 || z[zi] > z[best]) best = zi;
      }
    if (std::fabs(z[best] - second) < 1e-3) dy.p[at] = 0;  // rounding decides where the gradient goes
    const bool dead = join.relu && z[best] <= 0;
    ty[at] = dead ? 0 : z[best];
    if (!dead) g[best] = dy.p[at];
  }
  k.batch_norm(pool, c, join,
               {epsilon, x.p, scale.p, bias.p, mask, y.p, joined ? places.get() : nullptr, mean.p, var.p});
  k.batch_norm_back(pool, c, join, {epsilon, x.p, scale.p, mean.p, var.p, dy.p, mask, joined ? places.get() : nullptr,
                                    dx.p, dscale.p, dbias.p});
  for (long i = 0; i < x.n; ++i) ts[i % c.outputs] += g[i] * hat(i), tb[i % c.outputs] += g[i];
  for (long i = 0; i < x.n; ++i) {
    const long o = i % c.outputs;
    tdx[i] = scale.p[o] / std::sqrt(tv[o] + epsilon) * (g[i] - counts(i) * (tb[o] + hat(i) * ts[o]) / some);
  }
  const auto shape = shown(c.batch, c.out_height, c.out_width, c.outputs, join.rows, join.columns, join.relu, shift, mask ? rows : -1);
  compare("batch_norm mean", mean, tm, shape), compare("batch_norm var", var, tv, shape);
  if (rows < 8) return;  // next to no variance: what divides by it says little
  compare("batch_norm", y, ty, shape, 2e-4), compare("batch_norm_dx", dx, tdx, shape, 2e-3);
  compare("batch_norm_dscale", dscale, ts, shape, 2e-4), compare("batch_norm_dbias", dbias, tb, shape);
}

// What bends z, and its slope.
double bent_by(Bend how, double z) {
  const double tanh_of = std::tanh(std::sqrt(2 / 3.14159265358979324) * (z + 0.044715 * z * z * z));
  return how == Bend::relu ? std::fmax(z, 0) : how == Bend::tanh ? std::tanh(z)
         : how == Bend::sigmoid ? 1 / (1 + std::exp(-z)) : how == Bend::gelu ? z * (1 + tanh_of) / 2 : z;
}
double slope_of_gelu(double z) {
  const double h = 1e-5;
  return (bent_by(Bend::gelu, z + h) - bent_by(Bend::gelu, z - h)) / (2 * h);
}

void check_dense(const Kernels& k, Parallel& pool) {
  const Density d{draw(1, 40), draw(1, 90), draw(0, 2) ? draw(1, 70) : 32 * draw(1, 3)};
  Array x(d.rows * d.inputs), w(d.inputs * d.outputs), bias(d.outputs), dy(d.rows * d.outputs), y(dy.n);
  Array dw(w.n), db(d.outputs);
  x.drawn(), w.drawn(), bias.drawn(), dy.drawn();
  std::vector<double> ty(y.n), tdw(w.n), tdb(d.outputs);
  for (long i = 0; i < d.rows; ++i)
    for (long o = 0; o < d.outputs; ++o) {
      const double g = dy.p[i * d.outputs + o];
      ty[i * d.outputs + o] = bias.p[o], tdb[o] += g;
      for (long n = 0; n < d.inputs; ++n) {
        ty[i * d.outputs + o] += double(x.p[i * d.inputs + n]) * w.p[n * d.outputs + o];
        tdw[n * d.outputs + o] += g * x.p[i * d.inputs + n];
      }
    }
  k.dense(pool, d, x.p, w.p, bias.p, y.p);
  k.dense_dw(pool, d, x.p, dy.p, dw.p, db.p);
  const auto shape = shown(d.rows, d.inputs, d.outputs);
  compare("dense", y, ty, shape);
  const Bend bend = static_cast<Bend>(draw(0, 4));
  Array by(y.n), slope(y.n);
  std::vector<double> tslope(y.n);
  for (long i = 0; i < y.n; ++i) tslope[i] = slope_of_gelu(ty[i]), ty[i] = bent_by(bend, ty[i]);
  k.dense_bend(pool, d, bend, x.p, w.p, bias.p, by.p, bend == Bend::gelu ? slope.p : nullptr);
  compare("dense_bend", by, ty, shape, 5e-5);
  if (bend == Bend::gelu) compare("dense_bend slope", slope, tslope, shape, 5e-5);
  Array alone(y.n), alone_slope(y.n);
  k.bend(pool, bend, y.n, y.p, alone.p, bend == Bend::gelu ? alone_slope.p : nullptr);
  const std::vector<double> bits(by.p, by.p + y.n), slope_bits(slope.p, slope.p + y.n);
  compare("bend", alone, bits, shape, 1e-30);
  if (bend == Bend::gelu) compare("bend slope", alone_slope, slope_bits, shape, 1e-30);
  compare("dense_dw", dw, tdw, shape), compare("dense_db", db, tdb, shape);
}

void check_pooling(const Kernels& k, Parallel& pool) {
  Pooling p{};
  p.batch = draw(1, 4), p.channels = draw(1, 40), p.rows = draw(1, 3), p.columns = draw(1, 3);
  p.stride_rows = draw(1, 3), p.stride_columns = draw(1, 3);
  p.pad_top = draw(0, p.rows - 1), p.pad_left = draw(0, p.columns - 1);
  p.height = draw(p.rows, p.rows + 6), p.width = draw(p.columns, p.columns + 6);
  p.out_height = (p.height + p.pad_top - p.rows) / p.stride_rows + 1;
  p.out_width = (p.width + p.pad_left - p.columns) / p.stride_columns + 1;
  const long nx = p.batch * p.height * p.width * p.channels, ny = p.batch * p.out_height * p.out_width * p.channels;
  Array x(nx), dy(ny), y(ny), dx(nx);
  dy.drawn();
  for (long i = 0; i < nx; ++i) x.p[i] = static_cast<float>(draw(-2, 2));  // equals are many: the first is to win
  std::vector<double> ty(ny), tdx(nx);
  for (long b = 0; b < p.batch; ++b)
    for (long i = 0; i < p.out_height; ++i)
      for (long j = 0; j < p.out_width; ++j)
        for (long n = 0; n < p.channels; ++n) {
          const long at = ((b * p.out_height + i) * p.out_width + j) * p.channels + n;
          long best = -1;
          for (long u = 0; u < p.rows; ++u)
            for (long v = 0; v < p.columns; ++v) {
              const long r = i * p.stride_rows + u - p.pad_top, s = j * p.stride_columns + v - p.pad_left;
              if (r < 0 || r >= p.height || s < 0 || s >= p.width) continue;
              const long xi = ((b * p.height + r) * p.width + s) * p.channels + n;
              if (best < 0 || x.p[xi] > x.p[best]) best = xi;
            }
          ty[at] = x.p[best], tdx[best] += dy.p[at];
        }
  k.largest(pool, p, x.p, y.p);
  k.largest_dx(pool, p, x.p, dy.p, dx.p);
  const auto shape = shown(p.batch, p.height, p.width, p.channels, p.rows, p.columns, p.stride_rows, p.stride_columns);
  compare("largest", y, ty, shape), compare("largest_dx", dx, tdx, shape);
}

double sigmoid(double a) { return 1 / (1 + std::exp(-a)); }

// One step of one row in double precision: the next state and, from its gradient, that of all that went in.
struct Row {
  Cell cell;
  long width;
  const float *u, *v;
  std::vector<double> gates, fed;

  void forward(const float* z, std::vector<double>& h, std::vector<double>& c) {
    const long g = cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
    std::vector<double> r(g * width);
    for (long j = 0; j < g * width; ++j) {
      for (long k = 0; k < width; ++k) r[j] += h[k] * double(u[k * g * width + j]);
      if (cell == Cell::gru && j >= 2 * width) r[j] += v[j - 2 * width];
    }
    gates.assign(g * width, 0), fed.assign(width, 0);
    for (long j = 0; j < width; ++j) {
      if (cell == Cell::lstm) {
        double* to[4];
        for (int q = 0; q < 4; ++q) {
          to[q] = &gates[q * width + j];
          *to[q] = z[q * width + j] + r[q * width + j];
          *to[q] = q == 2 ? std::tanh(*to[q]) : sigmoid(*to[q]);
        }
        c[j] = *to[1] * c[j] + *to[0] * *to[2];
        h[j] = *to[3] * std::tanh(c[j]);
      } else if (cell == Cell::gru) {
        const double reset = sigmoid(z[j] + r[j]), s = sigmoid(z[width + j] + r[width + j]);
        fed[j] = r[2 * width + j];
        const double next = std::tanh(z[2 * width + j] + reset * fed[j]);
        gates[j] = reset, gates[width + j] = s, gates[2 * width + j] = next;
        h[j] = (1 - s) * next + s * h[j];
      } else {
        const double a = z[j] + r[j];
        h[j] = gates[j] = cell == Cell::tanh ? std::tanh(a) : a > 0 ? a : 0;
      }
    }
  }

  // dh, dc: of the state after the step -> before it. dz, dr: [gates * width].
  void back(const std::vector<double>& h, const std::vector<double>& c, std::vector<double>& dh,
            std::vector<double>& dc, double* dz, double* dr) {
    const long g = cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
    std::vector<double> before(width);
    for (long j = 0; j < width; ++j) {
      if (cell == Cell::lstm) {
        const double i = gates[j], f = gates[width + j], p = gates[2 * width + j], o = gates[3 * width + j];
        const double t = std::tanh(f * c[j] + i * p), e = dc[j] + dh[j] * o * (1 - t * t);
        dz[j] = e * p * i * (1 - i), dz[width + j] = e * c[j] * f * (1 - f);
        dz[2 * width + j] = e * i * (1 - p * p), dz[3 * width + j] = dh[j] * t * o * (1 - o);
        dc[j] = e * f;
        for (int q = 0; q < 4; ++q) dr[q * width + j] = dz[q * width + j];
      } else if (cell == Cell::gru) {
        const double reset = gates[j], s = gates[width + j], p = gates[2 * width + j];
        const double by = dh[j] * (1 - s) * (1 - p * p);
        dz[j] = dr[j] = by * fed[j] * reset * (1 - reset);
        dz[width + j] = dr[width + j] = dh[j] * (h[j] - p) * s * (1 - s);
        dz[2 * width + j] = by, dr[2 * width + j] = by * reset;
        before[j] = dh[j] * s;
      } else {
        const double a = gates[j];
        dz[j] = dr[j] = dh[j] * (cell == Cell::tanh ? 1 - a * a : a > 0 ? 1 : 0);
      }
    }
    for (long k = 0; k < width; ++k)
      for (long j = 0; j < g * width; ++j) before[k] += dr[j] * double(u[k * g * width + j]);
    dh = before;
  }
};

void check_recurrence(const Kernels& k, Parallel& pool) {
  Recurrence s{};
  s.cell = static_cast<Cell>(draw(0, 3)), s.steps = draw(1, 6), s.batch = draw(1, 33), s.width = draw(1, 40);
  if (draw(0, 3) == 0) s.batch = draw(1, 4), s.width = draw(60, 110);  // few rows: threads share the units
  s.backwards = draw(0, 1) == 1;
  const long g = s.gates(), plane = s.batch * s.width, all = s.steps * plane;
  const bool lstm = s.cell == Cell::lstm, gru = s.cell == Cell::gru, masked = draw(0, 1) == 1;
  Array z(all * g), u(s.width * g * s.width), v(s.width), h0(plane), c0(plane), h(all), c(all), gates(all * g), fed(all);
  Array dh(all), dh_last(plane), dc_last(plane), dz(all * g), dr(all * g), dh0(plane), dc0(plane);
  z.drawn(), u.drawn(0.3), v.drawn(), h0.drawn(), c0.drawn(), dh.drawn(), dh_last.drawn(), dc_last.drawn();
  std::unique_ptr<bool[]> valid(new bool[s.steps * s.batch]);
  for (long i = 0; i < s.steps * s.batch; ++i) valid[i] = draw(0, 2) > 0;
  RecurrentForward f{z.p, u.p, v.p, h0.p, c0.p, masked ? valid.get() : nullptr, h.p, c.p, gates.p, fed.p};
  k.recur(pool, s, f);
  RecurrentBackward b{u.p, h.p, c.p, gates.p, fed.p, h0.p, c0.p, f.valid, dh.p, dh_last.p, dc_last.p,
                      dz.p, dr.p, dh0.p, dc0.p};
  k.recur_back(pool, s, b);
  std::vector<double> th(all), tc(all), tdz(all * g), tdr(all * g), tdh(plane), tdc(plane);
  for (long row = 0; row < s.batch; ++row) {
    std::vector<std::vector<double>> hs(s.steps + 1), cs(s.steps + 1);
    std::vector<Row> steps(s.steps, Row{s.cell, s.width, u.p, v.p, {}, {}});
    hs[0].assign(h0.p + row * s.width, h0.p + (row + 1) * s.width);
    cs[0].assign(c0.p + row * s.width, c0.p + (row + 1) * s.width);
    auto real = [&](long t) { return !masked || valid[t * s.batch + row]; };
    auto time = [&](long i) { return s.backwards ? s.steps - 1 - i : i; };
    for (long i = 0; i < s.steps; ++i) {
      const long t = time(i);
      hs[i + 1] = hs[i], cs[i + 1] = cs[i];
      if (real(t)) steps[i].forward(z.p + (t * s.batch + row) * g * s.width, hs[i + 1], cs[i + 1]);
      for (long j = 0; j < s.width; ++j) {
        th[t * plane + row * s.width + j] = hs[i + 1][j];
        tc[t * plane + row * s.width + j] = cs[i + 1][j];
      }
    }
    std::vector<double> d(dh_last.p + row * s.width, dh_last.p + (row + 1) * s.width);
    std::vector<double> e(dc_last.p + row * s.width, dc_last.p + (row + 1) * s.width);
    for (long i = s.steps - 1; i >= 0; --i) {
      const long t = time(i), at = (t * s.batch + row) * s.width;
      for (long j = 0; j < s.width; ++j) d[j] += dh.p[at + j];
      if (real(t)) steps[i].back(hs[i], cs[i], d, e, &tdz[at * g], &tdr[at * g]);
    }
    for (long j = 0; j < s.width; ++j) tdh[row * s.width + j] = d[j], tdc[row * s.width + j] = e[j];
  }
  const auto shape = shown(static_cast<long>(s.cell), s.steps, s.batch, s.width, s.backwards, masked);
  compare("recur h", h, th, shape), compare("recur dz", dz, tdz, shape), compare("recur dh0", dh0, tdh, shape);
  if (lstm) compare("recur c", c, tc, shape), compare("recur dc0", dc0, tdc, shape);
  if (gru) compare("recur dr", dr, tdr, shape);
  RecurrentForward bare = f;  // without what only the way back needs
  Array h2(all), c2(all);
  bare.gates = bare.fed = nullptr, bare.h = h2.p, bare.c = c2.p;
  k.recur(pool, s, bare);
  compare("recur h, alone", h2, th, shape);
}

// A few updates of a network of dense layers in doubles, weight by weight.
struct Stack {
  const DenseSteps& s;
  std::vector<std::vector<double>> w, b, m, v;  // m, v: of w and b in turn
  double loss = 0, weight = 0;
  double nearest = 1;  // to 0 of what a ReLU bends: closer than rounding, and the kernel may take the other side
  std::vector<double> losses, activation, gradient, weights;  // of the last three what measured updates tell
  // of an update: outputs before and after what bends them and their gradients, by layer (0: what arrives), [rows, n]
  std::vector<std::vector<double>> z, y, dz, dy;

  static std::vector<double> doubles(const float* from, long n) { return {from, from + (from == nullptr ? 0 : n)}; }
  explicit Stack(const DenseSteps& s) : s(s) {
    for (long l = 0; l < s.layers; ++l) {
      const long n = s.widths[l] * s.widths[l + 1], out = s.widths[l + 1];
      w.push_back(doubles(s.w[l], n)), b.push_back(doubles(s.b[l], out));
      for (long i = 2 * l; i < 2 * l + 2; ++i) {
        m.push_back(doubles(s.m == nullptr ? nullptr : s.m[i], i % 2 == 0 ? n : out));
        v.push_back(doubles(s.v == nullptr ? nullptr : s.v[i], i % 2 == 0 ? n : out));
      }
    }
  }

  using Doubles = std::vector<double>;
  static Doubles sample(const Doubles& from, long step) {
    Doubles some;
    for (size_t i = 0; i < from.size(); i += step) some.push_back(from[i]);
    return some;
  }
  static double square(const Doubles& some) {
    double sum = 0;
    for (double v : some) sum += v * v;
    return sum;
  }
  static void tell(Doubles& to, const Doubles& some) {
    double sum = 0, zeros = 0;
    for (double v : some) sum += v, zeros += v == 0;
    for (double number : {static_cast<double>(some.size()), sum, square(some), zeros, 0.0}) to.push_back(number);
  }
  void tell_outputs() {
    for (long i = 0; i < s.watches; ++i) {
      const Watched& at = s.watched[i];
      tell(activation, sample((at.bent != 0 ? y : z)[at.layer], at.step));
      tell(gradient, sample((at.bent != 0 ? dy : dz)[at.layer], at.step));
    }
  }

  void move(Doubles& w, Doubles& m, Doubles& v, const Doubles& g, long t, bool matrix, long every, bool told) {
    const Doubles before = w;
    Doubles moves;
    for (size_t i = 0; i < w.size(); ++i) {
      const double pull = matrix ? s.decay * w[i] : 0, slope = g[i] + (s.decoupled ? 0 : pull);
      double way = slope;
      if (s.rule == DenseRule::momentum || s.rule == DenseRule::nesterov) {
        m[i] = slope + s.momentum * m[i];
        way = s.rule == DenseRule::nesterov ? slope + s.momentum * m[i] : m[i];
      } else if (s.rule == DenseRule::adam) {
        m[i] = (1 - s.b1) * slope + s.b1 * m[i], v[i] = (1 - s.b2) * slope * slope + s.b2 * v[i];
        way = s.rates[s.most + t] * m[i] / (std::sqrt(v[i]) + s.rates[2 * s.most + t] * s.eps);
      }
      moves.push_back(s.rates[t] * (way + (s.decoupled ? pull : 0)));
      w[i] -= moves.back();
    }
    for (const Doubles* a : std::initializer_list<const Doubles*>{&g, &moves, &before})
      if (told) weights.push_back(w.empty() ? 0 : square(sample(*a, every)) / sample(*a, every).size());
  }

  void step(long t, bool told) {
    const long first = (s.position + t) * s.batch, rows = std::min(s.batch, s.examples - first);
    std::vector<std::vector<double>> dw, db;
    for (auto* all : {&z, &y, &dz, &dy}) all->assign(s.layers + 1, {});
    for (long l = 0; l < s.layers; ++l) dw.emplace_back(w[l].size()), db.emplace_back(s.widths[l + 1]);
    double sum = 0;
    for (long i = 0; i < rows; ++i) {
      const long at = s.order == nullptr ? i : s.order[first - s.skipped + i], n = s.widths[0];
      std::vector<std::vector<double>> x(1);
      for (long j = 0; j < n; ++j) {
        const double raw = s.bytes ? static_cast<const unsigned char*>(s.x)[at * n + j]
                                   : static_cast<const float*>(s.x)[at * n + j];
        x[0].push_back(s.mean == nullptr ? raw : (raw - s.mean[j % s.means]) / s.scale[j % s.means]);
      }
      for (long l = 0; l < s.layers; ++l) {
        x.emplace_back();
        for (long o = 0; o < s.widths[l + 1]; ++o) {
          double sum = b[l].empty() ? 0 : b[l][o];
          for (long j = 0; j < s.widths[l]; ++j) sum += x[l][j] * w[l][j * s.widths[l + 1] + o];
          const Bend bend = s.bends[l];
          if (bend == Bend::relu) nearest = std::fmin(nearest, std::fabs(sum));
          z[l + 1].push_back(sum);
          x[l + 1].push_back(bend == Bend::relu ? std::fmax(sum, 0) : bend == Bend::tanh ? std::tanh(sum)
                             : bend == Bend::sigmoid ? 1 / (1 + std::exp(-sum)) : sum);
        }
      }
      z[0].insert(z[0].end(), x[0].begin(), x[0].end());
      for (long l = 0; l <= s.layers; ++l) y[l].insert(y[l].end(), x[l].begin(), x[l].end());
      const std::vector<double>& out = x.back();
      std::vector<double> d(out.size());
      if (s.loss == DenseLoss::cross_entropy) {
        const int label = static_cast<const int*>(s.y)[at];
        double total = 0;
        for (double z : out) total += std::exp(z);
        for (size_t o = 0; o < out.size() && label >= 0; ++o) {
          const double q = (static_cast<long>(o) == label) * (1 - s.smoothing) + s.smoothing / out.size();
          d[o] = (std::exp(out[o]) / total - q) / rows, sum += q * (std::log(total) - out[o]);
        }
      } else if (s.loss == DenseLoss::binary) {
        for (size_t o = 0; o < out.size(); ++o) {
          const double y = static_cast<const float*>(s.y)[at * out.size() + o], p = 1 / (1 + std::exp(-out[o]));
          const double q = y * (1 - s.smoothing) + s.smoothing / 2;
          d[o] = (p - q) / out.size() / rows, sum += (std::log1p(std::exp(out[o])) - q * out[o]) / out.size();
        }
      } else {
        for (size_t o = 0; o < out.size(); ++o) {
          const double off = out[o] - static_cast<const float*>(s.y)[at * out.size() + o];
          d[o] = 2 * off / out.size() / rows, sum += off * off / out.size();
        }
      }
      dz[s.layers].insert(dz[s.layers].end(), d.begin(), d.end());
      dy[s.layers].insert(dy[s.layers].end(), d.begin(), d.end());
      for (long l = s.layers - 1; l >= 0; --l) {
        std::vector<double> before(s.widths[l]);
        for (long j = 0; j < s.widths[l]; ++j) {
          for (long o = 0; o < s.widths[l + 1]; ++o) {
            dw[l][j * s.widths[l + 1] + o] += x[l][j] * d[o];
            before[j] += w[l][j * s.widths[l + 1] + o] * d[o];
          }
          const double out = x[l][j];
          const Bend bend = l == 0 ? Bend::none : s.bends[l - 1];
          dy[l].push_back(before[j]);
          if (bend == Bend::relu) before[j] *= out > 0;
          if (bend == Bend::tanh) before[j] *= 1 - out * out;
          if (bend == Bend::sigmoid) before[j] *= out * (1 - out);
          dz[l].push_back(before[j]);
        }
        for (size_t o = 0; o < d.size(); ++o) db[l][o] += d[o];
        d = before;
      }
    }
    if (told) tell_outputs();
    for (long l = 0; l < s.layers; ++l) {
      move(w[l], m[2 * l], v[2 * l], dw[l], t, true, s.every[2 * l], told);
      move(b[l], m[2 * l + 1], v[2 * l + 1], db[l], t, false, s.every[2 * l + 1], told);
    }
    losses.push_back(sum / rows), loss += sum, weight += rows;
  }
};

// Count, sum, sum of squares, zeros, not finite: each beside what it may be as large as. Gradients near 0 are
// differences of numbers near 1, and so off by some 1e-6; where all are as small, or a slope may round to 0, zeros tell
// nothing.
void compare_told(const char* what, const Array& got, const std::vector<double>& want, const std::string& shape,
                  bool rounded = false) {
  for (long i = 0; i < got.n; ++i) {
    const double* of = want.data() + i / 5 * 5;
    const double count = of[0], root = std::sqrt(count * of[2]), lost = 1e-6;  // root: count times the typical number
    const double off[5] = {0, 1e-3 * root + lost * count, 1e-3 * of[2] + 3 * lost * root + lost * lost * count,
                           rounded || root < 1e-5 * count ? count : 0.02 * count, 0};
    if (!(std::fabs(got.p[i] - want[i]) <= off[i % 5])) {
      std::printf("%s: %g for %g in field %ld, %s\n", what, got.p[i], want[i], i % 5, shape.c_str());
      ++failures;
    }
  }
}

void check_dense_steps(const Kernels& k, Parallel& pool) {
  DenseSteps s{};
  s.layers = draw(1, 3);
  std::vector<long> widths{draw(1, 60)};
  std::vector<Bend> bends;
  for (long l = 0; l < s.layers; ++l) widths.push_back(draw(1, draw(0, 2) == 0 ? 140 : 40));
  for (long l = 0; l < s.layers; ++l) bends.push_back(l + 1 < s.layers ? static_cast<Bend>(draw(0, 3)) : Bend::none);
  s.widths = widths.data(), s.bends = bends.data();
  s.loss = static_cast<DenseLoss>(draw(0, 2));
  if (s.loss == DenseLoss::cross_entropy) widths.back() += widths.back() == 1;  // of one class it is all rounding
  s.smoothing = draw(0, 1) == 0 ? 0.0f : 0.1f;
  s.rule = static_cast<DenseRule>(draw(0, 3));
  s.decoupled = draw(0, 1) == 1, s.decay = draw(0, 1) == 1 ? 0.01f : 0.0f;
  s.momentum = 0.9f, s.b1 = 0.9f, s.b2 = 0.99f, s.eps = 1e-3f;  // a small one would magnify rounding where g is about 0
  const bool blocks = draw(0, 7) == 0;  // more rows than go forward and back at once
  s.batch = blocks ? draw(1025, 2300) : draw(0, 2) == 0 ? 1 : draw(2, 70);
  for (Bend& bend : bends)
    if (blocks && bend == Bend::relu) bend = Bend::tanh;  // of so many sums one is always about 0
  const long held = s.batch + draw(0, blocks ? s.batch : 2 * s.batch + 5), n = widths[0], outputs = widths.back();
  const bool whole = draw(0, 4) == 0;  // the batch is the set
  s.skipped = whole ? 0 : draw(0, 1) * s.batch, s.position = s.skipped / s.batch;
  s.examples = whole ? s.batch : s.skipped + held;
  const long updates = whole ? 1 : (held + s.batch - 1) / s.batch;
  s.most = updates + draw(0, 2);
  std::unique_ptr<unsigned char[]> bytes(new unsigned char[held * n]);
  for (long i = 0; i < held * n; ++i) bytes[i] = static_cast<unsigned char>(draw(0, 255));
  Array floats(held * n), y(held * outputs), rates(3 * s.most), sums(2, 1), losses(s.most), mean(n), scale(n);
  floats.drawn(), y.drawn();
  std::unique_ptr<int[]> labels(new int[held]), order(new int[held]);
  for (long i = 0; i < held; ++i) {
    labels[i] = static_cast<int>(draw(-1, outputs - 1)), order[i] = static_cast<int>(draw(0, held - 1));
  }
  s.bytes = draw(0, 1) == 1;
  s.x = s.bytes ? static_cast<const void*>(bytes.get()) : floats.p;
  s.y = s.loss == DenseLoss::cross_entropy ? static_cast<const void*>(labels.get()) : y.p;
  s.order = whole ? nullptr : order.get();
  s.means = draw(0, 1) == 1 ? 1 : n;
  for (long i = 0; i < n; ++i) mean.p[i] = s.bytes ? 120.0f + i : 0.1f * i, scale.p[i] = s.bytes ? 70.0f : 1.5f;
  if (s.bytes || draw(0, 1) == 1) s.mean = mean.p, s.scale = scale.p;
  const float rate = s.rule == DenseRule::adam ? 0.05f : 0.01f;
  for (long t = 0; t < 3 * s.most; ++t)
    rates.p[t] = t < s.most ? rate / static_cast<float>(1 + t) : t < 2 * s.most ? 1.5f : 0.8f;
  s.rates = rates.p, s.sums = sums.p, s.losses = losses.p;
  std::vector<Array> held_w, held_b, moments;
  std::vector<float*> w, b, m, v;
  for (long l = 0; l < s.layers; ++l) {
    held_w.emplace_back(widths[l] * widths[l + 1]), held_b.emplace_back(widths[l + 1]);
    held_w.back().drawn(0.3), held_b.back().drawn(0.3);
    w.push_back(held_w.back().p), b.push_back(draw(0, 5) == 0 ? nullptr : held_b.back().p);
  }
  for (int which = 0; which < 2; ++which)
    for (long i = 0; i < 2 * s.layers; ++i) {
      moments.emplace_back(i % 2 == 0 ? widths[i / 2] * widths[i / 2 + 1] : widths[i / 2 + 1], 0.01);
      (which == 0 ? m : v).push_back(moments.back().p);
    }
  s.w = w.data(), s.b = b.data();
  s.m = s.rule == DenseRule::plain ? nullptr : m.data(), s.v = s.rule == DenseRule::adam ? v.data() : nullptr;
  std::vector<Watched> watched;
  for (long l = draw(0, 1) == 0 ? s.layers + 1 : 0; l <= s.layers; ++l)
    for (long bent = 0; bent < 2; ++bent) watched.push_back({l, bent, draw(0, 1) == 0 ? 1 : draw(2, 90)});
  std::vector<long> every;
  for (long i = 0; i < 2 * s.layers; ++i) every.push_back(draw(0, 1) == 0 ? 1 : draw(2, 90));
  s.watched = watched.data(), s.watches = static_cast<long>(watched.size()), s.every = every.data();
  std::vector<int> segments;
  for (long left = updates; left > 0 && s.watches > 0; ++s.count) {
    segments.push_back(static_cast<int>(draw(0, left - 1))), segments.push_back(1);
    left -= segments[2 * s.count] + 1;
  }
  if (s.watches == 0) segments = {static_cast<int>(updates), 1}, s.count = 1;  // nothing is watched: nor measured
  s.held = s.count + draw(0, 2);
  segments.resize(2 * s.held);
  s.segments = segments.data();
  Array activation(s.held * s.watches * 5), gradient(s.held * s.watches * 5), weights(s.held * s.layers * 6);
  Array squares(2 * s.layers);
  s.activation = activation.p, s.gradient = gradient.p, s.weights = weights.p, s.squares = squares.p;
  Stack want(s);
  for (long i = 0, t = 0; i < s.count; ++i) {
    for (long k = 0; k < segments[2 * i]; ++k) want.step(t++, false);
    if (s.watches > 0) want.step(t++, true);
  }
  want.losses.resize(s.most);
  want.activation.resize(activation.n), want.gradient.resize(gradient.n), want.weights.resize(weights.n);
  k.dense_steps(pool, s);
  std::string shape = shown(static_cast<long>(s.loss), static_cast<long>(s.rule), s.batch, s.count, whole, s.bytes);
  for (long width : widths) shape += " " + std::to_string(width);
  if (want.nearest < 1e-5) return;
  for (long l = 0; l < s.layers; ++l) {
    compare("dense steps w", held_w[l], want.w[l], shape, 2e-4);
    if (b[l] != nullptr) compare("dense steps b", held_b[l], want.b[l], shape, 2e-4);
    if (s.m != nullptr) compare("dense steps m", moments[2 * l], want.m[2 * l], shape, 2e-4);
    if (s.v != nullptr) compare("dense steps v", moments[2 * s.layers + 2 * l], want.v[2 * l], shape, 2e-4);
  }
  compare_told("dense steps activation", activation, want.activation, shape);
  bool smooth = false;
  for (Bend bend : bends) smooth |= bend == Bend::tanh || bend == Bend::sigmoid;
  compare_told("dense steps gradient", gradient, want.gradient, shape, smooth);
  for (long i = 0; i < weights.n; ++i) {
    Array one(1, weights.p[i]);  // each beside itself: a bias's gradient is far from a weight
    compare("dense steps weights", one, {want.weights[i]}, shape, 1e-3);
  }
  for (long i = 0; i < 2 * s.layers; ++i) {
    Array one(1, squares.p[i]);
    compare("dense steps squares", one, {want.square(i % 2 == 0 ? want.w[i / 2] : want.b[i / 2])}, shape, 1e-3);
  }
  compare("dense steps losses", losses, want.losses, shape, 2e-4);
  compare("dense steps sums", sums, {1 + want.loss, 1 + want.weight}, shape, 2e-4);
}

void check_row_norm(const Kernels& k, Parallel& pool) {
  const RowNorm s{draw(1, 70), draw(1, 150), 1e-3f};
  const bool scaled = draw(0, 1) == 1, biased = draw(0, 1) == 1;
  Array x(s.rows * s.width), y(x.n), dy(x.n), dx(x.n), scale(s.width), bias(s.width), dscale(s.width), dbias(s.width);
  x.drawn(), dy.drawn(), scale.drawn(), bias.drawn();
  std::vector<double> ty(x.n), tdx(x.n), ts(s.width), tb(s.width);
  for (long i = 0; i < s.rows; ++i) {
    const float* row = x.p + i * s.width;
    const float* d = dy.p + i * s.width;
    double mean = 0, var = 0, sum = 0, product = 0;
    const auto slope = [&](long n) { return scaled ? double(d[n]) * scale.p[n] : d[n]; };
    for (long n = 0; n < s.width; ++n) mean += row[n] / double(s.width);
    for (long n = 0; n < s.width; ++n) var += (row[n] - mean) * (row[n] - mean) / s.width;
    const double factor = 1 / std::sqrt(var + s.epsilon);
    for (long n = 0; n < s.width; ++n) {
      const double hat = (row[n] - mean) * factor;
      ty[i * s.width + n] = (scaled ? hat * scale.p[n] : hat) + (biased ? bias.p[n] : 0);
      ts[n] += d[n] * hat, tb[n] += d[n], sum += slope(n) / s.width, product += slope(n) * hat / s.width;
    }
    for (long n = 0; n < s.width; ++n)
      tdx[i * s.width + n] = factor * (slope(n) - sum - (row[n] - mean) * factor * product);
  }
  const float* scales = scaled ? scale.p : nullptr;
  k.row_norm(pool, s, x.p, scales, biased ? bias.p : nullptr, y.p);
  k.row_norm_back(pool, s, x.p, scales, dy.p, dx.p, dscale.p, dbias.p);
  const auto shape = shown(s.rows, s.width, scaled, biased);
  compare("row_norm", y, ty, shape, 5e-5), compare("row_norm_dbias", dbias, tb, shape);
  if (s.width < 3) return;  // nothing but rounding
  compare("row_norm_dx", dx, tdx, shape, 2e-4), compare("row_norm_dscale", dscale, ts, shape, 5e-5);
  k.row_norm_back(pool, s, x.p, scales, dy.p, dx.p, nullptr, nullptr);
  compare("row_norm_dx, alone", dx, tdx, shape, 2e-4);
}

void check_attention(const Kernels& k, Parallel& pool) {
  const Attention a{draw(1, 3), draw(1, 90), draw(1, 3), draw(1, 40), draw(0, 1) == 1};
  const long row = a.heads * a.width, n = a.batch * a.steps * row;
  Array mixed(3 * n), dy(n), y(n), dmixed(3 * n);
  mixed.drawn(), dy.drawn();
  std::vector<double> ty(n), tm(3 * n), w(a.steps), dw(a.steps);
  for (long b = 0; b < a.batch; ++b)
    for (long h = 0; h < a.heads; ++h)
      for (long i = 0; i < a.steps; ++i) {
        const auto at = [&](long step, long part) { return ((b * a.steps + step) * 3 + part) * row + h * a.width; };
        const long seen = a.causal ? i + 1 : a.steps, to = (b * a.steps + i) * row + h * a.width;
        const double scale = 1 / std::sqrt(double(a.width));
        double sum = 0, mean = 0;
        for (long j = 0; j < seen; ++j) {
          w[j] = dw[j] = 0;
          for (long c = 0; c < a.width; ++c) w[j] += double(mixed.p[at(i, 0) + c]) * mixed.p[at(j, 1) + c];
          sum += w[j] = std::exp(w[j] * scale);
        }
        for (long j = 0; j < seen; ++j) {
          w[j] /= sum;
          for (long c = 0; c < a.width; ++c) {
            ty[to + c] += w[j] * mixed.p[at(j, 2) + c];
            tm[at(j, 2) + c] += w[j] * dy.p[to + c];
            dw[j] += double(dy.p[to + c]) * mixed.p[at(j, 2) + c];
          }
          mean += w[j] * dw[j];
        }
        for (long j = 0; j < seen; ++j)
          for (long c = 0; c < a.width; ++c) {
            const double ds = w[j] * (dw[j] - mean) * scale;
            tm[at(i, 0) + c] += ds * mixed.p[at(j, 1) + c];
            tm[at(j, 1) + c] += ds * mixed.p[at(i, 0) + c];
          }
      }
  k.attend(pool, a, mixed.p, y.p);
  k.attend_back(pool, a, mixed.p, dy.p, dmixed.p);
  const auto shape = shown(a.batch, a.steps, a.heads, a.width, a.causal);
  compare("attend", y, ty, shape), compare("attend_back", dmixed, tm, shape, 5e-5);
}

// A line of a dense layer, what rescales, what bends, a dense layer at every place, and a mean; beside plain loops. The
// other stages are kernels that are checked above.
void check_answer(const Kernels& k, Parallel& pool) {
  const long rows = draw(0, 3) ? draw(1, 9) : draw(10, 90), inputs = draw(1, 60), places = draw(1, 5);
  const long n = draw(1, 70), outputs = draw(1, 300), period = draw(0, 1) ? 1 : draw(0, 1) ? places * n : n;
  const Bend bends[3] = {static_cast<Bend>(draw(0, 4)), static_cast<Bend>(draw(0, 4)), static_cast<Bend>(draw(0, 4))};
  const bool biased = draw(0, 1) == 1;
  Array x(rows * inputs), w(inputs * places * n), b(places * n), m(period), f(period), a(period);
  Array w2(n * outputs), b2(outputs), y(rows * outputs);
  x.drawn(), w.drawn(), b.drawn(), m.drawn(), f.drawn(), a.drawn(), w2.drawn(), b2.drawn();
  std::vector<Stage> stages(5);
  for (Stage& s : stages) s = Stage{};
  stages[0].act = Act::dense, stages[0].inputs = stages[0].c.channels = inputs;
  stages[0].outputs = stages[0].c.outputs = places * n, stages[0].bend = bends[0];
  stages[0].w = w.p, stages[0].b = biased ? b.p : nullptr;
  stages[1].act = Act::scale, stages[1].inputs = stages[1].outputs = places * n, stages[1].c.channels = period;
  stages[1].w = m.p, stages[1].u = f.p, stages[1].b = biased ? a.p : nullptr, stages[1].bend = bends[1];
  stages[2].act = Act::bend, stages[2].inputs = stages[2].outputs = places * n, stages[2].bend = bends[2];
  stages[3].act = Act::dense, stages[3].inputs = places * n, stages[3].outputs = places * outputs;
  stages[3].c.channels = n, stages[3].c.outputs = outputs, stages[3].w = w2.p, stages[3].b = b2.p;
  stages[4].act = Act::mean, stages[4].inputs = places * outputs, stages[4].outputs = outputs;
  std::vector<Array> packed;
  packed.reserve(5);
  for (Stage& s : stages)
    if (const long size = k.packed_size(s); size > 0 && draw(0, 1)) {
      packed.emplace_back(size);
      k.pack_stage(s, packed.back().p), s.panels = packed.back().p;
    }
  k.answer(pool, stages.data(), 5, rows, x.p, y.p);
  const auto bend = [](double z, Bend how) { return bent_by(how, z); };
  std::vector<double> right(rows * outputs), h(places * n);
  for (long i = 0; i < rows; ++i) {
    for (long o = 0; o < places * n; ++o) {
      double z = biased ? b.p[o] : 0;
      for (long c = 0; c < inputs; ++c) z += double(x.p[i * inputs + c]) * w.p[c * places * n + o];
      z = (bend(z, bends[0]) - m.p[o % period]) * f.p[o % period] + (biased ? a.p[o % period] : 0);
      h[o] = bend(bend(z, bends[1]), bends[2]);
    }
    for (long place = 0; place < places; ++place)
      for (long o = 0; o < outputs; ++o) {
        double z = b2.p[o];
        for (long c = 0; c < n; ++c) z += h[place * n + c] * w2.p[c * outputs + o];
        right[i * outputs + o] += z / places;
      }
  }
  compare("answer", y, right, shown(rows, inputs, places, n, outputs, period, biased), 1e-4);
}

}  // namespace

int main(int count, char** given) {
  const char* named = count > 1 ? given[1] : nullptr;
  const long cases = count > 2 ? std::atol(given[2]) : 100;
  random_bits.seed(count > 3 ? static_cast<unsigned>(std::atol(given[3])) : 0);
  const Kernels* k = kernels_here(named);
  if (named != nullptr && std::string(named) != k->name) {
    std::printf("not here: %s\n", named);
    return 0;
  }
  for (long i = 0; i < cases; ++i) {
    Threads pool(static_cast<int>(draw(1, 3)));
    check_convolution(*k, pool, false), check_convolution(*k, pool, true), check_norm(*k, pool);
    check_dense(*k, pool), check_pooling(*k, pool), check_recurrence(*k, pool), check_dense_steps(*k, pool);
    check_row_norm(*k, pool), check_attention(*k, pool), check_answer(*k, pool);
  }
  std::printf("%s: %ld cases, %d failures\n", k->name, cases, failures);
  return failures == 0 ? 0 : 1;
}
