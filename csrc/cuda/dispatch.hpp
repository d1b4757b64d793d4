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

// call(DtypeConstant, OrderConstant)
template <class Call>
void dispatch(Dtype dtype, Order order, Call call) {
  const auto with_order = [&](auto dtype_constant) {
    switch (order) {
      case Order::values: return call(dtype_constant, OrderConstant<Order::values>{});
      case Order::units: return call(dtype_constant, OrderConstant<Order::units>{});
      case Order::strided: return call(dtype_constant, OrderConstant<Order::strided>{});
    }
    throw std::invalid_argument("no such order");
  };
  switch (dtype) {
    case Dtype::f32: return with_order(DtypeConstant<Dtype::f32>{});
    case Dtype::f16: return with_order(DtypeConstant<Dtype::f16>{});
    case Dtype::bf16: return with_order(DtypeConstant<Dtype::bf16>{});
  }
  throw std::invalid_argument("no such dtype");
}

}  // namespace pydissect::cuda
