// Answers of a network in a line, for whoever calls this library without XLA: plain C functions, and threads of our own.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
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

constexpr long kWorthWaking = 1L << 18;  // multiplications of a call that are worth waking somebody
constexpr long kWorthHelp = 1L << 15;    // and those that are worth the help of one more who is awake
constexpr std::chrono::microseconds kAwake{40};

// Threads that sleep until somebody wants help.
class Helpers {
 public:
  static Helpers& here() {
    static Helpers* const all = new Helpers;  // never taken down: threads may wait in it when the process ends
    return *all;
  }

  // Hands the task to a thread, of which at most `most` are made; or not, where another caller is at it now.
  bool post(std::function<void()> task, long most) {
    const std::unique_lock<std::mutex> held(lock_, std::try_to_lock);
    if (!held || tasks_.size() > kMostWaiting) return false;
    try {
      if (threads_ < most) std::thread([this] { serve(); }).detach(), ++threads_;
      tasks_.push_back(std::move(task));
    } catch (...) {  // no thread or no memory to be had: the caller works alone
      return false;
    }
    wake_.notify_one();
    return true;
  }

 private:
  static constexpr size_t kMostWaiting = 64;  // in a forked process nobody takes them

  void serve() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> held(lock_);
        wake_.wait(held, [this] { return !tasks_.empty(); });
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  long threads_ = 0;
};

// Who helps a thread's calls. They look for the next one for a little while before they sleep again, for calls often
// come one after the other, and waking takes as long as a small network does.
class Company {
 public:
  // body(who shares the work of a call of so many multiplications)
  template <typename Body>
  void answer(long work, long threads, Body body) {
    const auto now = Crew::Clock::now();
    const bool often = now - last_ < kAwake;
    last_ = now;
    const long most = std::min({threads, allowed(), kMostThreads, work / kWorthHelp});
    if (most < 2 || (work < kWorthWaking && !often)) return body(alone_);
    const struct Call {
      Crew& crew;
      ~Call() { crew.let_go(); }
    } call{crew_};
    crew_.call(most, [&](auto help) { return Helpers::here().post(std::move(help), most - 1); }, kAwake);
    body(crew_);
  }

 private:
  Alone alone_;
  Crew crew_{kMostThreads};
  Crew::Clock::time_point last_{};
};

struct Line {
  std::vector<Stage> stages;
  std::vector<std::unique_ptr<float, decltype(&std::free)>> packed;  // what stages read in an order of its own
  long work = 0;                           // multiplications for an example

  void add(Stage s) {
    if (const long size = kernels().packed_size(s); size > 0) {
      const size_t bytes = (static_cast<size_t>(size) * sizeof(float) + 63) / 64 * 64;  // whole lines of the cache
      packed.emplace_back(static_cast<float*>(std::aligned_alloc(64, bytes)), &std::free);
      if (packed.back() == nullptr) throw std::bad_alloc();
      kernels().pack_stage(s, packed.back().get());
      s.panels = packed.back().get();
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
  try {
    const Line& line = *static_cast<const Line*>(call->line);
    thread_local Company company;
    company.answer(call->rows * line.work, static_cast<long>(call->threads), [&](Parallel& pool) {
      kernels().answer(pool, line.stages.data(), static_cast<long>(line.stages.size()), call->rows, call->x, call->y);
    });
    return 0;
  } catch (...) {
    return 1;
  }
}

#pragma GCC visibility pop
