// Work that is shared out among threads, without knowing whose threads they are.
#pragma once

namespace pellucid {

// Runs task(of, 0) ... task(of, n - 1), in any order and on any threads, and returns when all are done.
class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual int threads() const = 0;
  virtual void run(long n, void (*task)(void* of, long i), void* of) = 0;

  template <typename Body>
  void each(long n, Body body) {
    run(n, [](void* of, long i) { (*static_cast<Body*>(of))(i); }, &body);
  }
};

class Alone final : public Parallel {
 public:
  int threads() const override { return 1; }
  void run(long n, void (*task)(void*, long), void* of) override {
    for (long i = 0; i < n; ++i) task(of, i);
  }
};

}  // namespace pellucid
