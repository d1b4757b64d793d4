// How a thread that has nothing left to count takes over a part of what another still has, so that none waits for one
// whose core is slower, or busy with something else.
#pragma once

#include <atomic>

#include "job.hpp"

namespace pydissect {

// What a thread counts, as the others see it: they ask for a part, and between two blocks it gives one.
class Share {
 public:
  struct Given {
    Part part;
    const Counters* counters;  // to which no other thread adds for these units
  };

  // The thread's own side. From `open` to `close` others may ask.
  void open(const Counters& counters);

  __attribute__((always_inline)) bool asked() const { return state_.load() == kAsked; }

  // Gives a part none of whose units it will count on any image from here on.
  __attribute__((always_inline)) void give(const Part& part) {
    given_.part = part;
    state_.store(kGiven);
  }

  // Returns once what was given has been taken.
  void close();

  // The others' side. Asks for a part, and waits for it; false if the thread is through, or has been asked already.
  bool take(Given& given);

  bool closed() const;

 private:
  static constexpr int kClosed = 0, kOpen = 1, kAsked = 2, kGiven = 3;

  std::atomic<int> state_ = kClosed;
  Given given_ = {};
};

}  // namespace pydissect
