// Memory in aligned pieces, all from one allocation that is kept for the next use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace pydissect {

class Arena {
 public:
  // Asks for `count` values, to be had at *target from `allocate` on.
  template <class T>
  void reserve(T** target, int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    try {
      pieces_.push_back({[target](char* place) { *target = reinterpret_cast<T*>(place); }, size_, size_ + bytes});
    } catch (...) {
      forget();  // targets that the caller is about to lose
      throw;
    }
    size_ += (bytes + kGap + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Hands out the pieces asked for. The memory of earlier ones is used again.
  void allocate() {
    if (size_ > capacity_ || !memory_) {
      const size_t wanted = std::max(size_, kAlignment);
      memory_.reset();
      capacity_ = 0;
      memory_.reset(new (std::align_val_t(kAlignment), std::nothrow) char[wanted]);
      if (!memory_) {
        forget();
        throw std::bad_alloc();
      }
      capacity_ = wanted;
    }
    for (const Piece& piece : pieces_) piece.place(memory_.get() + piece.begin);
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(memory_.get(), capacity_);
    for (const Piece& piece : pieces_) {
      ASAN_UNPOISON_MEMORY_REGION(memory_.get() + piece.begin, piece.end - piece.begin);
    }
#endif
    forget();
  }

 private:
  void forget() {
    pieces_.clear();
    size_ = 0;
  }

  static constexpr size_t kAlignment = 64;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kGap = kAlignment;  // so that no piece's end touches the next piece
#else
  static constexpr size_t kGap = 0;
#endif
  struct Piece {
    std::function<void(char*)> place;
    size_t begin, end;
  };
  struct Free {
    void operator()(char* memory) const { ::operator delete[](memory, std::align_val_t(kAlignment)); }
  };
  std::vector<Piece> pieces_;
  size_t size_ = 0, capacity_ = 0;
  std::unique_ptr<char[], Free> memory_;
};

}  // namespace pydissect
