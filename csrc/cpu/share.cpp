#include "../core/share.hpp"

#include <thread>

namespace pydissect {

void Share::open(const Counters& counters) {
  given_.counters = &counters;
  state_ = kOpen;
}

void Share::close() {
  for (int state = kOpen; !state_.compare_exchange_weak(state, kClosed);) {
    if (state == kGiven) {
      std::this_thread::yield();
      state = kOpen;
    }
  }
}

bool Share::take(Given& given) {
  int state = kOpen;
  if (!state_.compare_exchange_strong(state, kAsked)) return false;
  for (state = kAsked; state == kAsked; state = state_) std::this_thread::yield();
  if (state == kClosed) return false;
  given = given_;
  state_ = kOpen;
  return true;
}

bool Share::closed() const { return state_ == kClosed; }

}  // namespace pydissect
