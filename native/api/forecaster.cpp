// The counterpart of ts/models/forecaster.ts and ts/data/window_features.ts for one series.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <stdexcept>

#include "api/internal.h"
#include "api/model_folder.h"
#include "api/task_parts.h"
#include "fused_rnn/task_models.h"

namespace fused_rnn {

struct Forecaster::Impl {
  explicit Impl(const Engine& engine) : engine(engine) {}

  Engine engine;
  StackSizes sizes;
  int64_t horizon = 0, input_size = 0, season = 1;
  std::vector<std::string> columns, targets, future;
  std::vector<std::string> calendar;  // "hour", "weekday", "month"
  std::string scaler, missing;
  std::vector<Scale> scales;  // of the columns
  std::vector<double> quantiles, offsets;
  std::optional<Recurrent> rnn;
  std::optional<Linear> head;

  int64_t features() const {
    const auto width = static_cast<int64_t>(columns.size());
    return width * (missing == "mask" ? 2 : 1) + 2 * static_cast<int64_t>(calendar.size());
  }
  Scale window_scale(const std::vector<double>& column, const Scale& whole) const;
};

namespace {

const std::string& one_of(const Json& json, const char* name,
                          std::initializer_list<const char*> known) {
  const std::string& value = member<std::string>(json, name, "a text");
  for (const char* one : known) {
    if (value == one) return value;
  }
  wrong(name, "one of those that are known, got '" + value + "'");
}

// With a straight line through what is missing.
std::vector<double> interpolated(const std::vector<double>& column) {
  std::vector<double> out = column;
  std::ptrdiff_t last = -1;
  const auto size = static_cast<std::ptrdiff_t>(out.size());
  for (std::ptrdiff_t i = 0; i < size; ++i) {
    if (std::isnan(out[static_cast<size_t>(i)])) continue;
    const double x = out[static_cast<size_t>(i)];
    for (std::ptrdiff_t j = last + 1; j < i; ++j) {
      const double share =
          last < 0 ? 1 : static_cast<double>(j - last) / static_cast<double>(i - last);
      const double before = last < 0 ? 0 : column[static_cast<size_t>(last)];
      out[static_cast<size_t>(j)] = before * (1 - share) + x * share;
    }
    last = i;
  }
  for (std::ptrdiff_t j = last + 1; last >= 0 && j < size; ++j) {
    out[static_cast<size_t>(j)] = column[static_cast<size_t>(last)];
  }
  return out;
}

// Where a time is in its day, week or year, from 0 up to 1.
double share_of(const std::string& input, double time) {
  using namespace std::chrono;
  constexpr double kDay = 86'400'000;
  const double days = std::floor(time / kDay);
  const double of_day = (time - days * kDay) / kDay;
  const sys_days day{std::chrono::days{static_cast<int64_t>(days)}};
  if (input == "hour") return of_day;
  if (input == "weekday") return (weekday(day).c_encoding() + of_day) / 7;
  const sys_days first = year_month_day(day).year() / January / 1;
  return (static_cast<double>((day - first).count()) + of_day) / 365.25;
}

}  // namespace

Forecaster Forecaster::load(const Engine& engine, const std::filesystem::path& folder) {
  std::shared_ptr<Impl> made;
  load_task("Forecaster", engine, folder,
            [&](const Json& config, const std::string&, const Weights& all) {
              Weights weights = all;
              auto impl = std::make_shared<Impl>(engine);
              Impl& m = *impl;
              m.sizes = stack_sizes(config);
              m.quantiles = numbers_in(config, "quantiles");
              const Json& state = object_in(config, "state");
              const Json& spec = object_in(state, "spec");
              m.offsets = numbers_in(state, "offsets");
              if (m.quantiles.empty() || m.offsets.size() != m.quantiles.size()) {
                wrong("state.offsets", "as many numbers as quantiles, at least one");
              }
              m.horizon = size_of(spec, "horizon", 1);
              m.input_size = size_of(spec, "inputSize", 1);
              m.season = size_of(state, "seasonLength", 1);
              if (m.season > m.input_size) m.season = 1;
              m.targets = names_in(spec, "targets");
              if (m.targets.empty()) wrong("targets", "at least one name");
              m.future = names_in(spec, "futrExog");
              m.columns = m.targets;
              for (auto& name : names_in(spec, "histExog")) m.columns.push_back(std::move(name));
              m.columns.insert(m.columns.end(), m.future.begin(), m.future.end());
              m.calendar = names_in(spec, "calendar");
              for (const auto& input : m.calendar) {
                if (input != "hour" && input != "weekday" && input != "month") {
                  wrong("calendar", "'hour', 'weekday' or 'month', got '" + input + "'");
                }
              }
              m.scaler = one_of(spec, "scaler", {"window", "standard", "robust", "none"});
              m.missing = one_of(spec, "missing", {"mask", "interpolate", "error"});
              const Json& scales = object_in(spec, "scales");
              for (const auto& name : m.columns) {
                const Json* found = m.scaler == "none" ? nullptr : scales.find(name);
                m.scales.push_back(found == nullptr ? Scale{} : scale_in(*found, "scales." + name));
              }
              const auto targets = static_cast<int64_t>(m.targets.size());
              const int64_t known = m.sizes.hidden_size + m.season * targets +
                                    m.horizon * static_cast<int64_t>(m.future.size());
              const int64_t outputs =
                  m.horizon * targets * static_cast<int64_t>(m.quantiles.size());
              check_stack(weights, m.features(), m.sizes);
              check_weight(weights, "head.weight", {outputs, known});
              m.rnn.emplace(make_stack(engine, m.features(), m.sizes));
              m.head.emplace(engine, known, outputs);
              take_weights(engine, weights, "rnn", m.rnn->parameters());
              take_weights(engine, weights, "head", m.head->parameters());
              if (!weights.empty()) {
                throw std::runtime_error("'" + weights.begin()->first + "' is not this model's");
              }
              made = std::move(impl);
            });
  return Forecaster(std::move(made));
}

int64_t Forecaster::input_size() const { return impl_->input_size; }
int64_t Forecaster::horizon() const { return impl_->horizon; }
const std::vector<std::string>& Forecaster::columns() const { return impl_->columns; }
const std::vector<std::string>& Forecaster::targets() const { return impl_->targets; }
const std::vector<std::string>& Forecaster::future_columns() const { return impl_->future; }
const std::vector<double>& Forecaster::quantiles() const { return impl_->quantiles; }
bool Forecaster::needs_times() const { return !impl_->calendar.empty(); }

// Center and scale of a target in its window.
Scale Forecaster::Impl::window_scale(const std::vector<double>& column, const Scale& whole) const {
  if (scaler != "window") return whole;
  double count = 0, sum = 0, squares = 0;
  for (const double x : column) {
    if (std::isnan(x)) continue;
    ++count;
    sum += x;
  }
  if (count == 0) return whole;
  const double center = sum / count;
  for (const double x : column) {
    if (!std::isnan(x)) squares += (x - center) * (x - center);
  }
  return {center, std::max(std::sqrt(squares / count), 0.01 * whole.scale)};
}

Forecast Forecaster::predict(std::span<const double> rows, std::span<const double> future,
                             std::span<const double> times) const {
  const char* function = "Forecaster.predict";
  const Impl& m = *impl_;
  const size_t width = m.columns.size(), targets = m.targets.size();
  const auto length = static_cast<size_t>(m.input_size);
  const auto horizon = static_cast<size_t>(m.horizon);
  if (rows.size() % width != 0 || rows.size() / width < length) {
    refuse(function, "rows",
           "at least " + std::to_string(length) + " rows of " + std::to_string(width) + " numbers",
           std::to_string(rows.size()) + " numbers");
  }
  const size_t start = rows.size() / width - length;
  if (needs_times() && times.size() != start + length) {
    refuse(function, "times", std::to_string(start + length) + " times, one of each row",
           std::to_string(times.size()));
  }
  if (future.size() != horizon * m.future.size()) {
    refuse(function, "future", std::to_string(horizon * m.future.size()) + " numbers",
           std::to_string(future.size()));
  }
  std::vector<std::vector<double>> columns(width, std::vector<double>(length));
  for (size_t k = 0; k < width; ++k) {
    size_t there = 0;
    for (size_t t = 0; t < length; ++t) {
      const double x = columns[k][t] = rows[(start + t) * width + k];
      const std::string name =
          "row " + std::to_string(start + t) + ", column '" + m.columns[k] + "'";
      if (std::isinf(x)) refuse(function, name, "a finite number", std::to_string(x));
      if (!std::isnan(x)) ++there;
      if (std::isnan(x) && m.missing == "error") {
        refuse(function, name, "a number, as missing is 'error'", "a missing value");
      }
    }
    if (there == 0 && k < targets) {
      refuse(function, "column '" + m.columns[k] + "'",
             "a value among the last " + std::to_string(length) + " rows", "missing ones only");
    }
    if (m.missing == "interpolate") columns[k] = interpolated(columns[k]);
  }
  std::vector<Scale> scales = m.scales;
  for (size_t k = 0; k < targets; ++k) scales[k] = m.window_scale(columns[k], m.scales[k]);

  const auto features = static_cast<size_t>(m.features());
  std::vector<float> input;
  input.reserve(length * features);
  for (size_t t = 0; t < length; ++t) {
    for (size_t k = 0; k < width; ++k) {
      const double x = columns[k][t];
      input.push_back(std::isnan(x) ? 0
                                    : static_cast<float>((x - scales[k].center) / scales[k].scale));
    }
    for (size_t k = 0; m.missing == "mask" && k < width; ++k) {
      input.push_back(std::isnan(columns[k][t]) ? 0 : 1);
    }
    for (const auto& one : m.calendar) {
      const double time = times[start + t];
      if (!std::isfinite(time) || std::abs(time) > 8.64e15) {
        refuse(function, "times", "milliseconds since 1970", std::to_string(time));
      }
      const double angle = 2 * std::numbers::pi * share_of(one, time);
      input.push_back(static_cast<float>(std::sin(angle)));
      input.push_back(static_cast<float>(std::cos(angle)));
    }
  }
  const auto [output, state] =
      m.rnn->forward(Tensor(m.engine, {m.input_size, 1, m.features()}, input));
  const std::vector<float> hidden = state.h.floats();
  std::vector<float> known(hidden.end() - static_cast<std::ptrdiff_t>(m.sizes.hidden_size),
                           hidden.end());
  // The mean of what each place in the season was.
  const auto season = static_cast<size_t>(m.season);
  const size_t seasons = length / season;
  for (size_t place = 0; place < season; ++place) {
    for (size_t k = 0; k < targets; ++k) {
      double sum = 0;
      for (size_t s = 0; s < seasons; ++s) {
        sum += input[(length - (seasons - s) * season + place) * features + k];
      }
      known.push_back(static_cast<float>(sum / static_cast<double>(seasons)));
    }
  }
  for (size_t i = 0; i < future.size(); ++i) {
    const Scale& own = m.scales[width - m.future.size() + i % m.future.size()];
    if (!std::isfinite(future[i])) {
      refuse(function, "future", "finite numbers", std::to_string(future[i]));
    }
    known.push_back(static_cast<float>((future[i] - own.center) / own.scale));
  }
  const Shape shape = {1, static_cast<int64_t>(known.size())};
  const std::vector<float> said = m.head->forward(Tensor(m.engine, shape, known)).floats();

  const size_t count = m.quantiles.size();
  Forecast result{m.targets, m.quantiles, m.horizon,
                  std::vector<double>(targets * count * horizon)};
  for (size_t h = 0; h < horizon; ++h) {
    for (size_t k = 0; k < targets; ++k) {
      const auto from = said.begin() + static_cast<std::ptrdiff_t>((h * targets + k) * count);
      std::vector<double> own(from, from + static_cast<std::ptrdiff_t>(count));
      std::sort(own.begin(), own.end());
      for (size_t q = 0; q < count; ++q) own[q] += m.offsets[q];
      std::sort(own.begin(), own.end());
      for (size_t q = 0; q < count; ++q) {
        result.values[(k * count + q) * horizon + h] = scales[k].center + scales[k].scale * own[q];
      }
    }
  }
  return result;
}

}  // namespace fused_rnn
