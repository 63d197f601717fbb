// Threads that help with many short pieces of work, and how many of them there may be.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "parallel.h"

namespace pellucid {

constexpr long kMostThreads = 16;  // more would wait for one another longer than they compute

// Processors' worth of time that a container may use (Linux' control groups), or a large number. Who looks for work all
// the time would use up what others need.
inline long allowed() {
  static const long found = [] {
    double quota = -1, period = 1e5;
    char first[32] = "";
    if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
      if (std::fscanf(file, "%31s %lf", first, &period) == 2 && first[0] != 'm') quota = std::atof(first);
      std::fclose(file);
    } else if (std::FILE* older = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
      if (std::fscanf(older, "%lf", &quota) != 1) quota = -1;
      std::fclose(older);
    }
    return quota > 0 && period > 0 ? std::max<long>(1, static_cast<long>(quota / period)) : kMostThreads;
  }();
  return found;
}

// For many short pieces of work, one after the other: those who help stay until all is over, and look for work all the
// time. Each has tasks of its own, the same from piece to piece where their number is, so that it finds what they read
// in its cache; who is through with these takes others'. The caller needs nobody: who has not come is not waited for.
class Crew final : public Parallel {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Crew(long most) : all_(std::make_shared<All>(most)) {}
  ~Crew() override { all_->over.store(true, std::memory_order_release); }
  int threads() const override { return static_cast<int>(threads_); }

  // From here on the work is shared out among so many threads, the caller's with them, as many as the crew has room for.
  // schedule(task): has some thread run it soon, or late, or never; false: nobody will. Who has come stays until the
  // crew is no more, or was let go and not called again for so long.
  template <typename Schedule>
  void call(long threads, Schedule schedule, Clock::duration patience = Clock::duration::max()) {
    threads_ = std::min(threads, all_->most);
    all_->wanted = true;
    for (long t = 1; t < threads_; ++t) {
      std::atomic<bool>& called = all_->tickets[t].called;
      if (called.exchange(true)) continue;
      if (!schedule([all = all_, t, patience] { all->stay(t, patience); })) called = false;
    }
  }
  void let_go() { all_->wanted = false; }

  void run(long n, void (*task)(void*, long), void* of) override {
    if (n < 2 || threads() < 2 || n > kMost) {
      for (long i = 0; i < n; ++i) task(of, i);
      return;
    }
    all_->task = task, all_->of = of;
    all_->left.store(n, std::memory_order_relaxed);
    ++turn_;
    for (long t = 0; t < threads(); ++t)
      all_->tickets[t].at.store(ticket(turn_, n * (t + 1) / threads(), n * t / threads()), std::memory_order_release);
    all_->work(0);
    for (long idle = 1; all_->left.load(std::memory_order_acquire) > 0; ++idle) rest(idle);
    if (all_->failed) std::rethrow_exception(std::exchange(all_->failed, nullptr));
  }

 private:
  static constexpr long kMost = (1 << 20) - 1;
  static uint64_t ticket(uint64_t turn, long end, long next) {
    return turn << 40 | static_cast<uint64_t>(end) << 20 | static_cast<uint64_t>(next);
  }
  static void rest(long idle) {
    if (idle == 0) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (idle % 1024 == 0) std::this_thread::yield();  // perhaps somebody wants this core
  }

  struct alignas(64) Ticket {
    std::atomic<uint64_t> at{0};      // the turn, where the thread's tasks end, and which is next
    std::atomic<bool> called{false};  // it has come, or will
  };
  struct All {
    const long most;
    std::unique_ptr<Ticket[]> tickets;  // of each thread
    void (*task)(void*, long) = nullptr;
    void* of = nullptr;
    alignas(64) std::atomic<long> left{0};
    std::atomic<bool> over{false}, wanted{false};
    std::mutex lock;
    std::exception_ptr failed;

    explicit All(long most) : most(most), tickets(new Ticket[most]) {}

    void stay(long own, Clock::duration patience) {
      std::atomic<bool>& called = tickets[own].called;
      Clock::time_point since;
      for (long idle = 0; !over.load(std::memory_order_acquire);) {
        if (work(own)) {
          idle = 0;
          continue;
        }
        if (idle++ == 0) since = Clock::now();
        if (idle % 64 == 0 && !wanted && Clock::now() - since > patience) {
          called = false;  // who wants somebody from here on calls anew
          if (!wanted || called.exchange(true)) return;  // or has just seen that this one is here
        }
        rest(idle);
      }
    }

    bool work(long own) {
      bool any = false;
      for (long k = 0; k < most; ++k) {
        std::atomic<uint64_t>& at = tickets[(own + k) % most].at;
        for (uint64_t seen = at.load(std::memory_order_acquire); (seen & kMost) < (seen >> 20 & kMost);) {
          if (!at.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
          any = true;  // what was claimed is of the present turn, which does not end before it is done
          try {
            task(of, static_cast<long>(seen & kMost));
          } catch (...) {
            std::lock_guard<std::mutex> held(lock);
            failed = std::current_exception();
          }
          left.fetch_sub(1, std::memory_order_acq_rel);
          seen = at.load(std::memory_order_acquire);
        }
      }
      return any;
    }
  };

  std::shared_ptr<All> all_;
  long threads_ = 1;
  uint64_t turn_ = 0;
};

}  // namespace pellucid
