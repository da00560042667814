"""The C++ source of the kernels. A Python module, because Flower's app bundles hold no C++ files."""

SOURCE = r"""
// The two operations of bits.py in one pass over memory each, with gradients; equal to them to the bit.
// Bit 31 - k of word j is the gate of activation k * words + j; a set bit is a closed gate. Where there are three
// regimes, a second plane of words follows, whose bits are clear in the third.
#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <c10/util/bit_cast.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kPlanes = 32;
constexpr int64_t kGrain = 1 << 15;  // activations that are worth a thread

// Samples that are worth a thread.
int64_t grain(int64_t count) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(count, 1));
}

// Words of one plane of `count` gates.
int64_t words_for(int64_t count) {
  return (count + kPlanes - 1) / kPlanes;
}

// All bits set if the bit of plane k is, else none.
template <typename Integer>
Integer mask_of(int32_t word, int64_t k) {
  return static_cast<Integer>(static_cast<int32_t>(static_cast<uint32_t>(word) << k) >> 31);
}

template <typename Integer>
void gate_rows(const at::Tensor& source, const at::Tensor& words, const at::Tensor& target) {
  const int64_t samples = source.size(0), count = source.numel() / std::max<int64_t>(samples, 1);
  const int64_t per_row = words_for(count), row_stride = words.stride(0);
  const auto* in = static_cast<const Integer*>(source.const_data_ptr());
  auto* out = static_cast<Integer*>(target.mutable_data_ptr());
  const auto* bits = words.const_data_ptr<int32_t>();
  at::parallel_for(0, samples, grain(count), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t* row = bits + i * row_stride;
      for (int64_t k = 0; k * per_row < count; ++k) {
        const int64_t from = i * count + k * per_row, length = std::min(per_row, count - k * per_row);
        const Integer* p = in + from;
        Integer* q = out + from;
        for (int64_t j = 0; j < length; ++j) {
          q[j] = p[j] & ~mask_of<Integer>(row[j], k);
        }
      }
    }
  });
}

// One regime: value -> (value & keep) * slope + offset. This is exact where the slope is 1 or 0 and the offset 0:
// adding -0 changes no value, and a slope of 0 keeps no bit of the value.
template <typename Integer, typename Value>
struct Regime {
  using Number = at::opmath_type<Value>;
  Integer keep;
  Number slope, offset;

  Regime(double a, double b)
      : keep(a == 0 ? 0 : ~Integer(0)),
        slope(static_cast<Number>(a == 0 ? 1 : a)),
        offset(static_cast<Number>(b == 0 && a != 0 ? -0.0 : b)) {}

  Integer operator()(Integer bits) const {
    const auto number = static_cast<Number>(c10::bit_cast<Value>(static_cast<Integer>(bits & keep)));
    return c10::bit_cast<Integer>(static_cast<Value>(number * slope + offset));
  }
};

// The regimes of a ReLU6 and its like, without arithmetic: the value itself, and constants.
struct Same {
  template <typename Integer>
  Integer operator()(Integer bits) const {
    return bits;
  }
};

template <typename Integer>
struct Constant {
  Integer bits;
  Integer operator()(Integer) const {
    return bits;
  }
};

template <bool kThree, typename Integer, typename First, typename Other>
void map_rows(
    const at::Tensor& source, const at::Tensor& words, const at::Tensor& target, First first, Other second,
    Other third) {
  const int64_t samples = source.size(0), count = source.numel() / std::max<int64_t>(samples, 1);
  const int64_t per_row = words_for(count), row_stride = words.stride(0);
  const auto* in = static_cast<const Integer*>(source.const_data_ptr());
  auto* out = static_cast<Integer*>(target.mutable_data_ptr());
  const auto* bits = words.const_data_ptr<int32_t>();
  at::parallel_for(0, samples, grain(count), [&](int64_t begin, int64_t end) {
    const auto a = first;  // copies, so that the compiler keeps them in registers
    const auto b = second, c = third;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t* row = bits + i * row_stride;
      const int32_t* next = row + (kThree ? per_row : 0);
      for (int64_t k = 0; k * per_row < count; ++k) {
        const int64_t from = i * count + k * per_row, length = std::min(per_row, count - k * per_row);
        const Integer* p = in + from;
        Integer* q = out + from;
        for (int64_t j = 0; j < length; ++j) {
          const Integer not_first = mask_of<Integer>(row[j], k);
          Integer mapped = (a(p[j]) & ~not_first) | (b(p[j]) & not_first);
          if (kThree) {
            const Integer not_third = mask_of<Integer>(next[j], k);
            mapped = (mapped & not_third) | (c(p[j]) & ~not_third);
          }
          q[j] = mapped;
        }
      }
    }
  });
}

// Slopes and offsets of two or three regimes; a third one of two is not used.
struct Table {
  std::vector<double> slopes, offsets;

  static bool is_zero(double x) {
    return x == 0;
  }

  // Whether the first regime passes the value and all others are constant, as in a ReLU6.
  bool cuts() const {
    return slopes[0] == 1 && offsets[0] == 0 && std::all_of(slopes.begin() + 1, slopes.end(), is_zero);
  }

  // Whether all others are 0 too, as in a ReLU.
  bool gates() const {
    return cuts() && std::all_of(offsets.begin(), offsets.end(), is_zero);
  }

  template <typename Integer, typename Value>
  void apply(const at::Tensor& source, const at::Tensor& words, const at::Tensor& target) const {
    const size_t last = slopes.size() - 1;
    if (cuts()) {
      const auto constant = [&](size_t i) {
        return Constant<Integer>{c10::bit_cast<Integer>(static_cast<Value>(offsets[i]))};
      };
      map<Integer>(source, words, target, Same(), constant(1), constant(last));
    } else {
      const auto regime = [&](size_t i) { return Regime<Integer, Value>(slopes[i], offsets[i]); };
      map<Integer>(source, words, target, regime(0), regime(1), regime(last));
    }
  }

  template <typename Integer, typename First, typename Other>
  void map(
      const at::Tensor& source, const at::Tensor& words, const at::Tensor& target, First a, Other b, Other c) const {
    if (slopes.size() == 2) return map_rows<false, Integer>(source, words, target, a, b, c);
    map_rows<true, Integer>(source, words, target, a, b, c);
  }
};

// Dense tensors whose memory is in the order of the bits: (samples, ...), channels last or not.
bool fits(const at::Tensor& value, bool channels_last) {
  return (channels_last ? value.movedim(1, -1) : value).is_contiguous();
}

void gate_into(const at::Tensor& source, const at::Tensor& words, const Table& table, const at::Tensor& target) {
  if (table.gates()) {
    switch (source.element_size()) {
      case 2: return gate_rows<int16_t>(source, words, target);
      case 4: return gate_rows<int32_t>(source, words, target);
      case 8: return gate_rows<int64_t>(source, words, target);
    }
  }
  switch (source.scalar_type()) {
    case at::kFloat: return table.apply<int32_t, float>(source, words, target);
    case at::kDouble: return table.apply<int64_t, double>(source, words, target);
    case at::kHalf: return table.apply<int16_t, at::Half>(source, words, target);
    case at::kBFloat16: return table.apply<int16_t, at::BFloat16>(source, words, target);
    default: TORCH_CHECK(false, "gates are applied to floating-point values, not to ", source.scalar_type());
  }
}

at::Tensor gated(const at::Tensor& value, const at::Tensor& words, const Table& table, bool channels_last) {
  const auto format = channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const at::Tensor source = fits(value, channels_last) ? value : value.contiguous(format);
  at::Tensor target = at::empty_like(source);
  gate_into(source, words, table, target);
  return target;
}

struct Gate : public torch::autograd::Function<Gate> {
  static at::Tensor forward(
      AutogradContext* context, const at::Tensor& value, const at::Tensor& words, const Table& table,
      bool channels_last, bool in_place) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({words});
    context->saved_data["slopes"] = table.slopes;
    context->saved_data["channels_last"] = channels_last;
    if (!in_place) return gated(value, words, table, channels_last);
    if (fits(value, channels_last)) {
      gate_into(value, words, table, value);
    } else {  // a part of a larger tensor
      value.copy_(gated(value, words, table, channels_last));
    }
    value.unsafeGetTensorImpl()->bump_version();
    context->mark_dirty({value});
    return value;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    // Into a new tensor: the incoming gradient is shared at residual adds.
    const bool channels_last = context->saved_data["channels_last"].toBool();
    Table table{context->saved_data["slopes"].toDoubleVector(), {}};
    table.offsets.resize(table.slopes.size());
    return {apply(gradients[0], context->get_saved_variables()[0], table, channels_last, false), {}, {}, {}, {}};
  }
};

using Numbers = at::ArrayRef<double>;

at::Tensor gate(
    const at::Tensor& value, const at::Tensor& words, Numbers slopes, Numbers offsets, bool channels_last) {
  return Gate::apply(value, words, Table{slopes.vec(), offsets.vec()}, channels_last, false);
}

at::Tensor gate_(
    const at::Tensor& value, const at::Tensor& words, Numbers slopes, Numbers offsets, bool channels_last) {
  return Gate::apply(value, words, Table{slopes.vec(), offsets.vec()}, channels_last, true);
}

template <typename Value>
void pack_rows(const at::Tensor& rectified, const at::Tensor& packed) {
  const int64_t samples = rectified.size(0), count = rectified.size(1), per_row = packed.size(1);
  const Value* in = rectified.const_data_ptr<Value>();
  auto* out = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<int32_t>());
  at::parallel_for(0, samples, grain(count), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      uint32_t* row = out + i * per_row;
      std::fill(row, row + per_row, 0xffffffffu);
      for (int64_t k = 0; k * per_row < count; ++k) {
        const Value* p = in + i * count + k * per_row;
        const int64_t length = std::min(per_row, count - k * per_row);
        for (int64_t j = 0; j < length; ++j) {
          row[j] &= ~(static_cast<uint32_t>(p[j] > Value(0)) << (31 - k));
        }
      }
    }
  });
}

at::Tensor pack(const at::Tensor& rectified) {
  const at::Tensor source = rectified.contiguous();
  at::Tensor packed = at::empty(
      {source.size(0), (source.size(1) + kPlanes - 1) / kPlanes}, source.options().dtype(at::kInt));
  if (source.scalar_type() == at::kDouble) {
    pack_rows<double>(source, packed);
  } else {
    pack_rows<float>(source.to(at::kFloat), packed);
  }
  return packed;
}

}  // namespace

TORCH_LIBRARY(fedsq_flwr, library) {
  library.def("gate(Tensor value, Tensor words, float[] slopes, float[] offsets, bool channels_last) -> Tensor");
  library.def(
      "gate_(Tensor(a!) value, Tensor words, float[] slopes, float[] offsets, bool channels_last) -> Tensor(a!)");
  library.def("pack(Tensor rectified) -> Tensor");
}

TORCH_LIBRARY_IMPL(fedsq_flwr, CPU, library) {
  library.impl("pack", pack);
}

TORCH_LIBRARY_IMPL(fedsq_flwr, CompositeImplicitAutograd, library) {
  library.impl("gate", gate);
  library.impl("gate_", gate_);
}
"""
