// All kernels for one instruction set. Built once for each, with that set's compiler flags; see CMakeLists.txt.
#include "kernels.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>

namespace pellucid {
namespace {

#include "simd.h"
#include "convolve.h"
#include "winograd.h"
#include "convolution.h"
#include "joined.h"
#include "norm.h"
#include "row_norm.h"
#include "dense.h"
#include "pooling.h"
#include "recurrent.h"
#include "attend.h"
#include "told.h"
#include "steps.h"
#include "line.h"

const Kernels table = {PELLUCID_NAME, convolve, convolve_dx, convolve_dw, convolve_join, convolve_join_dx,
                       convolve_join_dw, relu_largest, relu_largest_dx, batch_norm, batch_norm_back, dense,
                       dense_bend, bend, dense_dw, largest, largest_dx, recur, recur_back, packed_size, pack_stage,
                       row_norm, row_norm_back, attend, attend_back, dense_steps, answer};

}  // namespace

const Kernels* PELLUCID_TABLE() { return &table; }

}  // namespace pellucid
