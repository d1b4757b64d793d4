#include "../core/share.hpp"

#include <thread>

namespace pydissect {

Request Share::closed_ = {};

Share::Share() : request_(&closed_) {}

void Share::open(const Counters& counters) {
  counters_ = &counters;
  request_ = nullptr;
}

void Share::close() {
  if (Request* request = request_.exchange(&closed_)) reply(request, {});
}

void Share::answer(const Part& part) { reply(request_.exchange(nullptr), part); }

void Share::reply(Request* request, const Part& part) const {
  request->part = part;
  request->counters = counters_;
  request->answer = part.empty() ? Request::kRefused : Request::kGiven;
}

bool Share::take(std::vector<Share>& shares, Request& request) {
  for (bool busy = true; busy; std::this_thread::yield()) {
    busy = false;
    for (Share& share : shares) {
      const Outcome outcome = share.ask(request);
      if (outcome == kTaken) return true;
      busy = busy || outcome == kBusy;
    }
  }
  return false;
}

Share::Outcome Share::ask(Request& request) {
  Request* before = request_;
  if (before == nullptr) {
    request.answer = Request::kWaiting;
    if (request_.compare_exchange_strong(before, &request)) {
      while (request.answer == Request::kWaiting) std::this_thread::yield();
      return request.answer == Request::kGiven ? kTaken : kNothing;
    }
  }
  return before == &closed_ ? kNothing : kBusy;
}

}  // namespace pydissect
