#include "cuda/persistent.h"

#include <cstdlib>
#include <string>

namespace fused_rnn::cuda {
namespace {

// The way that FUSED_RNN_CUDA_PATH asks for, for tests and comparisons.
enum class Way { best, persistent, graph };

Way way_asked_for() {
  const char* value = std::getenv("FUSED_RNN_CUDA_PATH");
  const std::string way = value == nullptr ? "" : value;
  return way == "persistent" ? Way::persistent : way == "graph" ? Way::graph : Way::best;
}

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

// The kernel for a number of states (persistent_kernels.h): small parts leave less to do to every
// block, and hold fewer of the weights.
bool choose_share(int64_t hidden, bool exact, Division& division) {
  struct Share {
    int64_t most_states;
    int units, k_steps;
  };
  constexpr Share kTf32[] = {{256, 16, 4}, {512, 16, 8}, {1024, 8, 16}};
  constexpr Share kExact[] = {{256, 16, 4}, {512, 8, 8}};
  const auto choose = [&](const auto& shares) {
    for (const Share& share : shares) {
      if (hidden > share.most_states) continue;
      division.units = share.units;
      division.k_steps = share.k_steps;
      return true;
    }
    return false;
  };
  return exact ? choose(kExact) : choose(kTf32);
}

constexpr int64_t kFewestSteps = 4;
// What the blocks read from each other in a step; beyond that the caches are slower than products.
constexpr int64_t kMostBytesOfStep = int64_t{24} << 20;

}  // namespace

std::optional<Division> persistent_division(const RnnShape& s, CudaDevice& device) {
  static const Way way = way_asked_for();
  if (way == Way::graph || s.proj > 0) return {};
  Division d{};
  d.exact = device.precision.rnn == Fp32Precision::ieee;
  if (!choose_share(s.hidden, d.exact, d)) return {};
  d.parts = static_cast<int>(divide_up(s.hidden, d.units));
  const int room = std::min(persistent_room_forward(s.cell, d, device),
                            persistent_room_backward(s.cell, d, device));
  const int64_t most_groups = room / (d.parts * s.directions);
  if (most_groups == 0) return {};
  const int64_t batch_tiles = divide_up(s.batch, kTileRows);
  d.tiles = static_cast<int>(divide_up(batch_tiles, most_groups));
  d.groups = static_cast<int>(divide_up(batch_tiles, d.tiles));
  if (way == Way::persistent) return d;
  int64_t steps = 0;
  while (steps < std::min(s.steps, kFewestSteps) && s.batch_sizes[steps] > 0) ++steps;
  if (steps < kFewestSteps) return {};
  const int64_t bytes = s.directions * s.batch * s.hidden * d.parts * int64_t{sizeof(float)};
  if (bytes > kMostBytesOfStep) return {};
  return d;
}

namespace {

bool all_alike(const StepPlan& plan) {
  return plan[0].active == plan[plan.count() - 1].active;
}

}  // namespace

PersistentPlans::PersistentPlans(const StepPlan& first, const StepPlan& second, size_t directions,
                                 CudaDevice& device)
    : steps_(static_cast<size_t>(first.count())),
      memory_(device, all_alike(first) ? 0
                                       : static_cast<int64_t>(directions * steps_ * sizeof(Step) /
                                                              sizeof(float))) {
  if (memory_.data() == nullptr) return;
  std::vector<Step> steps;
  for (size_t d = 0; d < directions; ++d) {
    const StepPlan& plan = d == 0 ? first : second;
    for (int64_t i = 0; i < plan.count(); ++i) steps.push_back(plan[i]);
  }
  // Pageable memory is read before the call returns.
  check(cudaMemcpyAsync(memory_.data(), steps.data(), steps.size() * sizeof(Step),
                        cudaMemcpyHostToDevice, device.stream()),
        "cudaMemcpyAsync");
}

}  // namespace fused_rnn::cuda
