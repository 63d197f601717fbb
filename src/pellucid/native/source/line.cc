// Answers of a network in a line, for whoever calls this library without XLA: plain C functions, and threads of our own.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "crew.h"
#include "kernels.h"

using namespace pellucid;

namespace {

constexpr long kWorthHelp = 1L << 18;  // multiplications of a call that are worth waking somebody
constexpr std::chrono::microseconds kAwake{40};

// Threads that wait for somebody to help. They look for the next call for a little while before they sleep, for calls
// often come one after the other, and waking takes as long as a small network does.
class Helpers {
 public:
  static Helpers& here() {
    static Helpers* const all = new Helpers;  // never taken down: threads may wait in it when the process ends
    return *all;
  }

  // Hands the task to a thread, of which at most `most` are made. Where another caller is at it now, nobody helps.
  void post(std::function<void()> task, long most) {
    const std::unique_lock<std::mutex> held(lock_, std::try_to_lock);
    if (!held || tasks_.size() > kMostWaiting) return;
    try {
      if (threads_ < most) std::thread([this] { serve(); }).detach(), ++threads_;
      tasks_.push_back(std::move(task));
    } catch (...) {  // no thread or no memory to be had: the caller works alone
      return;
    }
    waiting_.store(true, std::memory_order_release);
    if (asleep_ > 0) wake_.notify_one();
  }

 private:
  static constexpr size_t kMostWaiting = 64;  // in a forked process nobody takes them

  void serve() {
    for (;;) {
      const auto until = std::chrono::steady_clock::now() + kAwake;
      while (!waiting_.load(std::memory_order_acquire) && std::chrono::steady_clock::now() < until) {
#if defined(__x86_64__)
        for (int i = 0; i < 8; ++i) __builtin_ia32_pause();
#endif
      }
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> held(lock_);
        ++asleep_;
        wake_.wait(held, [this] { return !tasks_.empty(); });
        --asleep_;
        task = std::move(tasks_.front());
        tasks_.pop_front();
        waiting_.store(!tasks_.empty(), std::memory_order_release);
      }
      task();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::atomic<bool> waiting_{false};
  long threads_ = 0, asleep_ = 0;
};

struct Line {
  std::vector<Stage> stages;
  std::vector<std::vector<float>> packed;  // what stages read in an order of its own
  long work = 0;                           // multiplications for an example

  void add(Stage s) {
    if (s.act == Act::recur) {
      Alone alone;
      packed.emplace_back(static_cast<size_t>(kernels().feedback_size(s.r)));
      kernels().pack_feedback(alone, s.r, s.u, packed.back().data());
      s.panels = packed.back().data();
    }
    work += s.work();
    stages.push_back(s);
  }
};

// How Python tells a stage: numbers in the order in which they are read below, and arrays that it keeps alive.
struct Told {
  int64_t numbers[30];
  const float* arrays[4];
};

// x: [rows, inputs] -> y: [rows, outputs], with so many threads at most.
struct Call {
  const void* line;
  int64_t rows;
  const float* x;
  float* y;
  int64_t threads;
};

Stage stage(const Told& told) {
  const int64_t* n = told.numbers;
  Stage s{};
  s.act = static_cast<Act>(*n++), s.inputs = *n++, s.outputs = *n++, s.bend = static_cast<Bend>(*n++);
  Convolution& c = s.c;
  for (long* to : {&c.height, &c.width, &c.channels, &c.out_height, &c.out_width, &c.outputs, &c.rows, &c.columns,
                   &c.stride_rows, &c.stride_columns, &c.dilation_rows, &c.dilation_columns, &c.pad_top, &c.pad_left})
    *to = static_cast<long>(*n++);
  s.join.rows = *n++, s.join.columns = *n++, s.join.relu = *n++ != 0;
  s.r.cell = static_cast<Cell>(*n++), s.r.steps = *n++, s.r.width = *n++, s.r.backwards = *n++ != 0;
  s.features = *n++, s.each_step = *n++ != 0;
  s.w = told.arrays[0], s.b = told.arrays[1], s.u = told.arrays[2], s.v = told.arrays[3];
  return s;
}

}  // namespace

#pragma GCC visibility push(default)

// A line of `count` stages, or null where there is no memory. `pellucid_line_free` takes it down.
extern "C" void* pellucid_line(const Told* told, int64_t count) {
  try {
    auto line = std::make_unique<Line>();
    for (int64_t i = 0; i < count; ++i) line->add(stage(told[i]));
    return line.release();
  } catch (...) {
    return nullptr;
  }
}

extern "C" void pellucid_line_free(void* line) { delete static_cast<Line*>(line); }

// 0 where y is written, else it says nothing.
extern "C" int pellucid_line_answer(const Call* call) {
  const Line& line = *static_cast<const Line*>(call->line);
  const auto run = [&](Parallel& pool) {
    kernels().answer(pool, line.stages.data(), static_cast<long>(line.stages.size()), call->rows, call->x, call->y);
  };
  try {
    const long most = std::min<long>(call->threads, std::min(allowed(), kMostThreads));
    if (most < 2 || call->rows * line.work < kWorthHelp) {
      Alone alone;
      run(alone);
    } else {
      Crew crew(most, [&](auto help) { Helpers::here().post(std::move(help), most - 1); });
      run(crew);
    }
    return 0;
  } catch (...) {
    return 1;
  }
}

#pragma GCC visibility pop
