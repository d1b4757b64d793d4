// Calls a template for the number format and the order in memory that a launch has.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "arguments.hpp"

namespace pydissect::cuda {

template <Dtype kDtype>
using DtypeConstant = std::integral_constant<Dtype, kDtype>;
template <Order kOrder>
using OrderConstant = std::integral_constant<Order, kOrder>;

// call(DtypeConstant)
template <class Call>
void dispatch_dtype(Dtype dtype, Call call) {
  switch (dtype) {
    case Dtype::f32: return call(DtypeConstant<Dtype::f32>{});
    case Dtype::f16: return call(DtypeConstant<Dtype::f16>{});
    case Dtype::bf16: return call(DtypeConstant<Dtype::bf16>{});
  }
  throw std::invalid_argument("no such dtype");
}

// call(DtypeConstant, OrderConstant), of a counting kernel
template <class Call>
void dispatch_count(Dtype dtype, Order order, Call call) {
  dispatch_dtype(dtype, [&](auto dtype_constant) {
    switch (order) {
      case Order::values: return call(dtype_constant, OrderConstant<Order::values>{});
      case Order::units: return call(dtype_constant, OrderConstant<Order::units>{});
      case Order::strided: return call(dtype_constant, OrderConstant<Order::strided>{});
    }
    throw std::invalid_argument("no such order");
  });
}

// call(DtypeConstant, OrderConstant), of a selecting kernel
template <class Call>
void dispatch_select(Dtype dtype, Order order, Call call) {
  dispatch_dtype(dtype, [&](auto dtype_constant) {
    switch (order) {
      case Order::values: return call(dtype_constant, OrderConstant<Order::values>{});
      case Order::units: return call(dtype_constant, OrderConstant<Order::units>{});
      case Order::strided: break;
    }
    throw std::invalid_argument("no such order");
  });
}

}  // namespace pydissect::cuda
