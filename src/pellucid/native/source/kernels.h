// What this library computes, as plain functions over plain arrays: one table of them for each instruction set.
//
// All arrays are dense, row-major float32. Sums are taken in an order that depends on the shapes and on the number of
// threads alone, never on which thread came first, so that equal runs give equal bytes.
#pragma once

#include "parallel.h"

namespace pellucid {

// y[b, i, j, o] = bias[o] + sum over u, v, c of  x[b, i*stride + u*dilation - pad, ..., c] * w[u, v, c, o]
struct Convolution {
  long batch, height, width, channels;      // x: [batch, height, width, channels]
  long out_height, out_width, outputs;      // y: [batch, out_height, out_width, outputs]
  long rows, columns;                       // w: [rows, columns, channels, outputs]
  long stride_rows, stride_columns, dilation_rows, dilation_columns;
  long pad_top, pad_left;
};

// What follows a convolution or a normalisation at once: ReLU, and the largest of each window of rows x columns, side by
// side (1, 1: none). Places that fill no window are left out. A window has 255 places at most.
struct Join {
  long rows, columns;
  bool relu;
};

// y[i, o] = bias[o] + sum over n of x[i, n] * w[n, o]
struct Density {
  long rows, inputs, outputs;
};

// The largest of each window, and the gradient to the first place that holds it. What lies outside never wins.
struct Pooling {
  long batch, height, width, channels;
  long out_height, out_width;
  long rows, columns, stride_rows, stride_columns, pad_top, pad_left;
};

// Kinds of recurrent cells, gates in the order of the columns of u: [width, gates * width].
enum class Cell : long { tanh = 0, relu = 1, lstm = 2, gru = 3 };

struct Recurrence {
  Cell cell;
  long steps, batch, width;
  bool backwards;  // reads the last step first
  long gates() const { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
};

struct RecurrentForward {
  const float* z;        // [steps, batch, gates * width]: x·w + b
  const float* u;        // [width, gates * width]
  const float* v;        // [width], of the gru: the bias of its proposal's feedback
  const float* h0;       // [batch, width]
  const float* c0;       // [batch, width], of the lstm
  const bool* valid;     // [steps, batch] or null: a step that only fills up leaves the state as it was
  float* h;              // [steps, batch, width]
  float* c;              // [steps, batch, width], of the lstm
  float* gates;          // [steps, batch, gates * width], after their activation; null: not wanted. May be z.
  float* fed;            // [steps, batch, width], of the gru: h·u + v of its proposal; null: not wanted
  const float* panels = nullptr;  // u as `pack_gates` lays it out, where that was done before
};

struct RecurrentBackward {
  const float* u;
  const float* h;        // what the way forward gave
  const float* c;
  const float* gates;    // may be dz
  const float* fed;
  const float* h0;
  const float* c0;
  const bool* valid;
  const float* dh;       // [steps, batch, width]: the gradient of h
  const float* dh_last;  // [batch, width]: of the last state
  const float* dc_last;  // [batch, width], of the lstm
  float* dz;             // [steps, batch, gates * width]
  float* dr;             // the same, of h·u, of the gru (elsewhere it is dz)
  float* dh0;            // [batch, width]
  float* dc0;            // [batch, width], of the lstm
};

// Batch normalisation of the last axis, of an array [batch, out_height, out_width, outputs], and what is joined to it.
struct NormForward {
  float epsilon;
  const float *x, *scale, *bias;
  const bool* mask;  // [batch]: which images count for mean and variance; null: all of them
  float* y;
  unsigned char* places;  // of what is joined, or null
  float *mean, *var;      // [outputs], of this batch; var is biased
};

struct NormBackward {
  float epsilon;
  const float *x, *scale, *mean, *var, *dy;
  const bool* mask;
  const unsigned char* places;
  float *dx, *dscale, *dbias;
};

// Every step looks at all, or (`causal`) at those before it and itself: y = softmax(q·k' / sqrt(width))·v, head by head.
struct Attention {
  long batch, steps, heads, width;  // queries, keys and values: [batch, steps, 3, heads, width]
  bool causal;
  float scale() const { return 1.0f / __builtin_sqrtf(static_cast<float>(width)); }
};

// Layer normalisation of rows of so many numbers.
struct RowNorm {
  long rows, width;
  float epsilon;
};

// What bends a dense layer's sums, what is lost, and how weights move.
enum class Bend : long { none = 0, relu = 1, tanh = 2, sigmoid = 3, gelu = 4 };  // gelu: by tanh
enum class DenseLoss : long { cross_entropy = 0, squares = 1, binary = 2 };
enum class DenseRule : long { plain = 0, momentum = 1, nesterov = 2, adam = 3 };

// What is looked at on measured steps: a layer's outputs and their gradient, before or after what bends them; of layer
// 0 what arrives.
struct Watched {
  long layer, bent, step;  // every step-th number is looked at
};

// Updates of a network of dense layers, batch after batch of an epoch; weights and moments are written over.
struct DenseSteps {
  long layers;
  const long* widths;      // [layers + 1]: inputs, then each layer's outputs
  const Bend* bends;       // [layers], after each; none after the last
  DenseLoss loss;
  DenseRule rule;
  bool decoupled;          // whether decay shrinks the weight itself, and is no part of the gradient
  float decay, momentum, b1, b2, eps;
  float smoothing;         // of the labels
  long batch, examples;    // of an epoch; the last batch is what is left
  const int* segments;     // [held, 2]: plain updates, then measured ones (0 or 1)
  long count, held;        // segments to go through, and those there is room for
  long position;           // the number of the first update's batch in the epoch
  long skipped;            // examples before the first of `order`
  bool bytes;              // x is unsigned bytes, not floats
  const void* x;           // [n, inputs]
  const void* y;           // [n] classes as int, or [n, outputs] floats
  const int* order;        // rows of x, or null: as they lie
  const float *mean, *scale;  // [means], repeated over the inputs; mean null: x as it is
  long means;
  const float* rates;      // [3, most]: the rate, and what undoes Adam's start at 0: a, b
  long most;
  float **w, **b, **m, **v;  // w, b: [layers], b null for none; m, v: [2 * layers], of w and b in turn
  float* losses;           // [most]: each batch's mean
  float* sums;             // losses of all examples and their number, added to
  const Watched* watched;  // [watches]; none: no update is measured
  long watches;
  const long* every;       // [2 * layers]: every so many numbers of w and b in turn are looked at
  float *activation, *gradient;  // [held, watches, 5]: see `told.h`
  float* weights;          // [held, 2 * layers, 3]: mean squares of gradient, update and weight
  float* squares;          // [2 * layers]: sums of squares of w and b after all updates

  // multiplications of a step forward
  long work() const {
    long n = 0;
    for (long l = 0; l < layers; ++l) n += widths[l] * widths[l + 1];
    return n * batch;
  }
};

// A network whose layers stand in a line, each a stage that takes an example's `inputs` floats and gives `outputs`.
enum class Act : long {
  scale = 0,     // (x - w) * u + b, each [c.channels] and repeated, b null for none; then bend
  dense = 1,     // x·w + b at every place: [places, c.channels] -> [places, c.outputs], then bend
  convolve = 2,  // of c, then join
  largest = 3,   // of each window of c
  mean = 4,      // over all places: [places, outputs] -> [outputs]
  recur = 5,     // x·w + b [steps, features] through r, whose feedback is u, and v of the gru
  bend = 6,
};

struct Stage {
  Act act;
  long inputs, outputs;
  Bend bend;
  Convolution c;  // its batch is that of the call, here and of r
  Join join;
  Recurrence r;
  long features;
  bool each_step;
  const float *w, *b, *u, *v;
  const float* panels;  // what `pack_stage` makes of the weights, or null

  // multiplications for an example
  long work() const {
    if (act == Act::dense) return inputs * c.outputs;
    if (act == Act::convolve) return c.out_height * c.out_width * c.rows * c.columns * c.channels * c.outputs;
    return act == Act::recur ? r.steps * (features + r.width) * r.gates() * r.width : inputs;
  }
};

struct Kernels {
  const char* name;  // of the instruction set
  void (*convolve)(Parallel&, const Convolution&, const float* x, const float* w, const float* bias, float* y);
  void (*convolve_dx)(Parallel&, const Convolution&, const float* dy, const float* w, float* dx);
  // db: [outputs]
  void (*convolve_dw)(Parallel&, const Convolution&, const float* x, const float* dy, float* dw, float* db);
  // y: [batch, out_height / rows, out_width / columns, outputs]; places: the same shape, for the way back, or null
  void (*convolve_join)(Parallel&, const Convolution&, const Join&, const float* x, const float* w, const float* bias,
                        float* y, unsigned char* places);
  void (*convolve_join_dx)(Parallel&, const Convolution&, const Join&, const float* dy, const unsigned char* places,
                           const float* w, float* dx);
  void (*convolve_join_dw)(Parallel&, const Convolution&, const Join&, const float* x, const float* dy,
                           const unsigned char* places, float* dw, float* db);
  // the same of an array, of which the shape alone is read: x: [batch, out_height, out_width, outputs]
  void (*relu_largest)(Parallel&, const Convolution&, const Join&, const float* x, float* y, unsigned char* places);
  void (*relu_largest_dx)(Parallel&, const Convolution&, const Join&, const float* dy, const unsigned char* places,
                          float* dx);
  void (*batch_norm)(Parallel&, const Convolution&, const Join&, const NormForward&);
  void (*batch_norm_back)(Parallel&, const Convolution&, const Join&, const NormBackward&);
  void (*dense)(Parallel&, const Density&, const float* x, const float* w, const float* bias, float* y);
  // what bends the sums at once; slope: of what is no function of y alone (gelu), or null
  void (*dense_bend)(Parallel&, const Density&, Bend, const float* x, const float* w, const float* bias, float* y,
                     float* slope);
  void (*bend)(Parallel&, Bend, long n, const float* z, float* y, float* slope);  // alone
  void (*dense_dw)(Parallel&, const Density&, const float* x, const float* dy, float* dw, float* db);
  void (*largest)(Parallel&, const Pooling&, const float* x, float* y);
  void (*largest_dx)(Parallel&, const Pooling&, const float* x, const float* dy, float* dx);
  void (*recur)(Parallel&, const Recurrence&, const RecurrentForward&);
  void (*recur_back)(Parallel&, const Recurrence&, const RecurrentBackward&);
  long (*packed_size)(const Stage&);  // floats that a stage's weights take as they are read; 0: as they lie
  void (*pack_stage)(const Stage&, float* to);
  // scale, bias: null for none
  void (*row_norm)(Parallel&, const RowNorm&, const float* x, const float* scale, const float* bias, float* y);
  void (*row_norm_back)(Parallel&, const RowNorm&, const float* x, const float* scale, const float* dy, float* dx,
                        float* dscale, float* dbias);
  // y, dy: [batch, steps, heads, width]
  void (*attend)(Parallel&, const Attention&, const float* mixed, float* y);
  void (*attend_back)(Parallel&, const Attention&, const float* mixed, const float* dy, float* dmixed);
  void (*dense_steps)(Parallel&, const DenseSteps&);
  // x: [rows, inputs of the first stage] -> y: [rows, outputs of the last]
  void (*answer)(Parallel&, const Stage* stages, long count, long rows, const float* x, float* y);
};

// The table for an instruction set, or null where it was not built in.
const Kernels* kernels_base();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

// What is in use here: as the environment's PELLUCID_NATIVE_ISA says, else the best.
const Kernels& kernels();

// The best that this processor runs; `named`: at most this one ("base", "avx2", "avx512"), or null.
const Kernels* kernels_here(const char* named);

}  // namespace pellucid
