// A language model that was trained and saved from TypeScript (model.save(folder), by characters):
// reads a text token by token, goes on where it ends, and learns from a file.
//
//   language_model MODEL PREFIX [TEXT_FILE STEPS OUT]
//
// With a text file it takes STEPS steps of training on it and saves the model to OUT, from where
// TypeScript loads it. The numbers are those that TypeScript gets.
#include <fused_rnn/fused_rnn.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace fr = fused_rnn;

// The numbers of a text's characters, which are tokens (UTF-8: continuation bytes begin with 10).
static std::vector<int32_t> encode(const fr::LanguageModel& model, const std::string& text) {
  std::vector<int32_t> tokens;
  for (size_t begin = 0, end; begin < text.size(); begin = end) {
    end = begin + 1;
    while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
    tokens.push_back(model.index_of(text.substr(begin, end - begin)));
  }
  return tokens;
}

// How surprising each token of a text is after those before it, in nats.
static void read(const fr::LanguageModel& model, const std::vector<int32_t>& tokens) {
  fr::RecurrentState state;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const std::vector<float> logits = model.step(tokens[i], state);
    double sum = 0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit));
    std::printf("surprise %.9g\n", std::log(sum) - logits[static_cast<size_t>(tokens[i + 1])]);
  }
}

static void write(const fr::LanguageModel& model, const std::vector<int32_t>& prefix) {
  auto generation = model.generate(prefix, {.temperature = 0.7, .seed = 1});
  std::string text;
  for (int i = 0; i < 80; ++i) text += model.tokens()[static_cast<size_t>(generation.next())];
  std::printf("wrote %s\n", text.c_str());
}

static void learn(const fr::Engine& engine, fr::LanguageModel& model,
                  const std::vector<int32_t>& text, int steps) {
  const int64_t kSteps = 16, kBatch = 4;  // T, B
  const auto columns = static_cast<int64_t>(text.size() - 1) / kBatch;
  if (columns < kSteps) throw std::runtime_error("the text is too short to learn from");
  fr::SGD optimizer(model.parameters(), {.lr = 0.5, .momentum = 0.9, .max_grad_norm = 1});
  fr::RecurrentState state;
  int64_t at = 0;  // in every column of the text
  for (int step = 0; step < steps; ++step) {
    if (at + kSteps > columns) {
      at = 0;
      state = {};
    }
    std::vector<int32_t> input, target;
    for (int64_t t = at; t < at + kSteps; ++t) {
      for (int64_t b = 0; b < kBatch; ++b) {
        input.push_back(text[static_cast<size_t>(b * columns + t)]);
        target.push_back(text[static_cast<size_t>(b * columns + t + 1)]);
      }
    }
    at += kSteps;
    optimizer.zero_grad();
    const fr::Tensor loss =
        model.training_step(fr::Tensor(engine, {kSteps, kBatch}, input),
                            fr::Tensor(engine, {kSteps, kBatch}, target), state);
    optimizer.step();
    std::printf("loss %.9g\n", static_cast<double>(loss.item()));
  }
}

int main(int argc, char** argv) {
  if (argc != 3 && argc != 6) {
    std::fprintf(stderr, "usage: %s MODEL PREFIX [TEXT_FILE STEPS OUT]\n", argv[0]);
    return 2;
  }
  try {
    fr::Engine engine("cpu");
    fr::LanguageModel model = fr::LanguageModel::load(engine, argv[1]);
    engine.manual_seed(7);  // for dropout
    const std::vector<int32_t> prefix = encode(model, argv[2]);
    read(model, prefix);
    write(model, prefix);
    if (argc == 3) return 0;
    std::ifstream file(argv[3], std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + argv[3]);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    learn(engine, model, encode(model, text), std::stoi(argv[4]));
    write(model, prefix);
    model.save(argv[5]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
