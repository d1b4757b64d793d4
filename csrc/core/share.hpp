// How a thread that has nothing to count takes over a part of what another still has, so that none waits for one whose
// core is slower, or busy with something else. But for `asked` it is compiled once, in cpu/share.cpp.
#pragma once

#include <atomic>
#include <vector>

#include "job.hpp"

namespace pydissect {

// What a thread asks for, and where the answer comes.
struct Request {
  enum Answer { kWaiting, kGiven, kRefused };

  std::atomic<Answer> answer;
  Part part;
  const Counters* counters;  // to which no other thread adds for these units
};

// A thread as the others see it: one of them at a time asks, and between two blocks of units it answers. What it gives
// lies with the one that asked from then on, so that it never waits.
class alignas(kLine) Share {
 public:
  Share();

  // The thread's own side: from `open` to `close` it may be asked.
  void open(const Counters& counters);
  void close();

  __attribute__((always_inline)) bool asked() const { return request_.load() != nullptr; }

  // Gives a part, of whose units it counts none from here on. An empty one is a refusal.
  void answer(const Part& part);

  // The others' side: asks one after the other, and waits for each answer, until one gives something.
  static bool take(std::vector<Share>& shares, Request& request);

 private:
  enum Outcome { kTaken, kNothing, kBusy };  // busy: it has yet to answer another

  Outcome ask(Request& request);
  void reply(Request* request, const Part& part) const;

  static Request closed_;  // stands where a request would: nobody may ask

  std::atomic<Request*> request_;
  const Counters* counters_ = nullptr;
};

}  // namespace pydissect
