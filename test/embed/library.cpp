// What test/embed.test.ts asks of an installed library:
//
//   library layers IN OUT     runs layers on the tensors of IN, writes what comes out to OUT
//   library precision IN OUT  the same in float32, in bfloat16 and in float32 again
//   library lstm WEIGHTS IN OUT    an LSTM of two layers, both directions, with converted weights
//   library files FILE…       says what is wrong with each file of tensors
//   library models FOLDER…    and with each model
//   library forecast FOLDER ROWS FUTURE TIMES    numbers with commas: what a Forecaster predicts
//   library classify FOLDER ROWS                 what a SequenceClassifier says of rows
//   library classify FOLDER tokens TOKEN…        and of tokens
//   library arguments         says what wrong arguments are answered
//   library memory            whether memory is shared and given back
//   library gpu               the same on a GPU
//   library threads           whether engines side by side disturb each other
//
// `layers` and `gpu` run on FUSED_RNN_TEST_DEVICE.
#include <fused_rnn/fused_rnn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace fused_rnn;

extern "C" int plain_c_works(void);

namespace {

void tell(const std::function<void()>& f) {
  try {
    f();
    std::printf("fine\n");
  } catch (const std::invalid_argument& e) {
    std::printf("argument: %s\n", e.what());
  } catch (const std::exception& e) {
    std::printf("error: %s\n", e.what());
  }
}

Engine test_engine() {
  const char* device = std::getenv("FUSED_RNN_TEST_DEVICE");
  Engine engine(device == nullptr ? "cpu" : device, 2);
  engine.set_precision(Precision::ieee, Precision::ieee);
  return engine;
}

// ---- Layers -----------------------------------------------------------------------------------

struct Case {
  const std::string name;
  std::map<std::string, Tensor>&in, &out;

  Tensor get(const std::string& key) const {
    const auto found = in.find(name + "." + key);
    return found == in.end() ? Tensor() : found->second;
  }
  void put(const std::string& key, const Tensor& tensor) const {
    if (tensor) out[name + "." + key] = tensor;
  }
  void load(const Parameters& parameters) const {
    for (const auto& [key, parameter] : parameters) parameter->value = get(key);
  }
  // The gradients, then the parameters after two steps with them.
  void train(const Parameters& parameters) const {
    for (const auto& [key, parameter] : parameters) put("grad." + key, parameter->grad);
    SGDOptions options;
    options.lr = 0.1;
    options.momentum = 0.9;
    options.weight_decay = 0.01;
    options.nesterov = true;
    options.max_grad_norm = 0.5;
    options.max_grad_value = 0.1;
    SGD optimizer(parameters, options);
    optimizer.step();
    optimizer.step();
    for (const auto& [key, parameter] : parameters) put(key, parameter->value);
  }
};

void recurrent(const Case& c, Recurrent layer) {
  c.load(layer.parameters());
  const RecurrentState state = {c.get("h0"), c.get("c0")};
  Recurrent::Saved saved;
  const auto [output, next] = layer.forward(c.get("x"), state, &saved);
  c.put("output", output);
  c.put("hn", next.h);
  c.put("cn", next.c);
  c.put("again", layer.forward(c.get("x"), state).output);
  const auto [dx, dstate] = layer.backward(saved, c.get("doutput"), {c.get("dhn"), c.get("dcn")});
  c.put("dx", dx);
  c.put("dh0", dstate.h);
  c.put("dc0", dstate.c);
  c.train(layer.parameters());
}

// Embedding, linear layer, cross entropy: the loss and all gradients, twice, which add up.
void classifier(const Engine& engine, const Case& c) {
  Embedding embedding(engine, 7, 5);
  Linear linear(engine, 5, 7);
  c.load(embedding.parameters());
  c.load({{"linear", linear.parameters()[0].second}, {"bias", linear.parameters()[1].second}});
  CrossEntropyOptions options;
  options.ignore_index = 3;
  options.label_smoothing = 0.1F;
  const CrossEntropyLoss loss(options);
  for (int i = 0; i < 2; ++i) {
    const Tensor x = embedding.forward(c.get("indices"));
    CrossEntropyLoss::Saved saved;
    c.put("loss", loss.forward(linear.forward(x), c.get("target"), &saved));
    const Tensor dlogits = loss.backward(saved);
    embedding.backward(c.get("indices"), linear.backward(x, dlogits));
    c.put("dlogits", dlogits);
  }
  Parameters all = embedding.parameters();
  all.emplace_back("linear", linear.parameters()[0].second);
  all.emplace_back("bias", linear.parameters()[1].second);
  c.train(all);
}

void layers(const std::string& from, const std::string& to) {
  const Engine engine = test_engine();
  SafetensorsFile in = load_safetensors(engine, from), out;
  out.metadata["text"] = "\"quoted\"\n";
  const RecurrentOptions both = {.num_layers = 2, .bidirectional = true};
  recurrent({"lstm", in.tensors, out.tensors}, LSTM(engine, 3, 6, both, 4));
  recurrent({"gru", in.tensors, out.tensors}, GRU(engine, 3, 6, {.num_layers = 2, .bias = false}));
  recurrent({"peephole", in.tensors, out.tensors}, LSTM(engine, 3, 6, {}, 0, true));
  recurrent({"reset before", in.tensors, out.tensors}, GRU(engine, 3, 6, {}, false));
  recurrent({"rnn", in.tensors, out.tensors}, RNN(engine, 3, 6, {}, RNN::Nonlinearity::relu));
  recurrent({"layer norm", in.tensors, out.tensors}, LayerNormLSTM(engine, 3, 6, both, 4));
  recurrent({"slstm", in.tensors, out.tensors}, SLSTM(engine, 3, 6, both));
  recurrent({"indrnn", in.tensors, out.tensors}, IndRNN(engine, 3, 6, both));
  recurrent({"indrnn tanh", in.tensors, out.tensors},
            IndRNN(engine, 3, 6, {.bias = false}, RNN::Nonlinearity::tanh));
  recurrent({"sru", in.tensors, out.tensors}, SRU(engine, 6, 6, both));
  recurrent({"sru narrow", in.tensors, out.tensors},
            SRU(engine, 3, 6, {.num_layers = 2, .bias = false}));
  recurrent({"mingru", in.tensors, out.tensors}, MinGRU(engine, 3, 6, both));
  recurrent({"minlstm", in.tensors, out.tensors}, MinLSTM(engine, 3, 6, both));
  classifier(engine, {"classifier", in.tensors, out.tensors});
  save_safetensors(to, out);
}

// A state dict of PyTorch's, as `fused-rnn convert` writes it.
void converted(const std::string& weights, const std::string& from, const std::string& to) {
  const Engine engine = test_engine();
  LSTM lstm(engine, 3, 4, {.num_layers = 2, .bidirectional = true});
  const SafetensorsFile state = load_safetensors(engine, weights);
  for (const auto& [key, parameter] : lstm.parameters()) parameter->value = state.tensors.at(key);
  const auto [output, last] = lstm.forward(load_safetensors(engine, from).tensors.at("x"));
  SafetensorsFile out;
  out.tensors = {{"output", output}, {"hn", last.h}, {"cn", last.c}};
  save_safetensors(to, out);
}

void precision(const std::string& from, const std::string& to) {
  Engine engine("cpu", 2);
  SafetensorsFile in = load_safetensors(engine, from), out;
  LSTM lstm(engine, 24, 40);
  Linear linear(engine, 40, 30);
  for (auto& [name, parameters] :
       {std::pair{"lstm", lstm.parameters()}, std::pair{"linear", linear.parameters()}}) {
    Case{name, in.tensors, out.tensors}.load(parameters);
  }
  const std::pair<const char*, Precision> turns[] = {
      {"before", Precision::ieee}, {"bf16", Precision::bf16}, {"after", Precision::ieee}};
  for (const auto& [name, precision] : turns) {
    engine.set_precision(precision, precision);
    const Tensor x = in.tensors.at("x");
    out.tensors[std::string(name) + ".lstm"] = lstm.forward(x).output;
    engine.set_precision(Precision::ieee, precision);
    out.tensors[std::string(name) + ".rnn"] = lstm.forward(x).output;
    engine.set_precision(precision, Precision::ieee);
    out.tensors[std::string(name) + ".matmul"] = linear.forward(in.tensors.at("y"));
  }
  save_safetensors(to, out);
}

// ---- Errors -----------------------------------------------------------------------------------

void arguments() {
  Engine engine("cpu", 1), other("cpu", 1);
  const std::vector<float> six = {1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> far = {9};
  const Tensor x(engine, {2, 3}, six);
  const Tensor index(engine, {1}, far);
  LSTM lstm(engine, 3, 4);
  tell([] { Engine("gpu"); });
  tell([] { Engine("cuda:99"); });
  tell([&] { Tensor(engine, {2, 2}, six); });
  tell([&] { x.reshape({4}); });
  tell([&] { x.rows(1, 3); });
  tell([&] { x.item(); });
  tell([&] { x.integers(); });
  tell([] { Tensor().shape(); });
  tell([&] { LSTM(engine, 3, 0); });
  tell([&] { LSTM(engine, 3, 4, {}, 4); });
  tell([&] { lstm.forward(x); });
  tell([&] { lstm.forward(x.reshape({2, 1, 3}), {x, {}}); });
  tell([&] { GRU(engine, 3, 4).forward(x.reshape({2, 1, 3}), {{}, x}); });
  tell([&] { lstm.forward(Tensor(other, {2, 1, 3}, six)); });
  tell([&] {
    Recurrent::Saved saved;
    const Tensor y = lstm.forward(x.reshape({2, 1, 3}), {}, &saved).output;
    lstm.backward(saved, y);
    lstm.backward(saved, y);
  });
  tell([&] { Linear(engine, 4, 2).forward(x); });
  tell([&] { CrossEntropyLoss().forward(x, index); });
  tell([&] { SGD({}, {}); });
  tell([&] { Embedding(engine, 5, 2).forward(index).floats(); });
  tell([&] { x.floats(); });  // the failure has been told
  tell([&] {
    SGDOptions options;
    options.nesterov = true;
    auto parameter = std::make_shared<Parameter>(Parameter{x, x});
    SGD({{"x", parameter}}, options).step();
  });
}

// ---- Memory -----------------------------------------------------------------------------------

void expect(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string("not so: ") + what);
}

int deleted = 0;

void memory() {
  expect(plain_c_works() == 1, "c.h works in C");
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  DLManagedTensor* shared;
  {
    const Engine engine("cpu", 1);
    shared = Tensor(engine, {2, 3}, values).to_dlpack();
  }
  // The engine has gone, the memory has not.
  const DLTensor& t = shared->dl_tensor;
  expect(t.ndim == 2 && t.shape[0] == 2 && t.shape[1] == 3, "the shape");
  expect(t.strides[0] == 3 && t.strides[1] == 1 && t.byte_offset == 0, "the strides");
  expect(t.dtype.code == kDLFloat && t.dtype.bits == 32 && t.dtype.lanes == 1, "the type");
  expect(t.device.device_type == kDLCPU && t.device.device_id == 0, "the device");
  expect(std::memcmp(t.data, values.data(), sizeof(float) * 6) == 0, "the values");
  const Engine engine("cpu", 1);
  const Tensor back = Tensor::from_dlpack(engine, shared);
  static_cast<float*>(t.data)[5] = 60;
  expect(back.floats() == std::vector<float>{1, 2, 3, 4, 5, 60}, "one memory");

  float own[] = {0, 1, 2, 3, 4};
  int64_t shape[] = {2, 2}, strides[] = {2, 1};
  DLManagedTensor managed{};
  managed.deleter = [](DLManagedTensor*) { deleted += 1; };
  managed.dl_tensor = {own, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, strides, 4};
  {
    const Tensor tensor = Tensor::from_dlpack(engine, &managed);
    expect(tensor.floats() == std::vector<float>{1, 2, 3, 4}, "the offset");
    const Tensor row = tensor.rows(1, 2);
    expect(row.floats() == std::vector<float>{3, 4}, "a row of it");
    expect(deleted == 0, "not given back too early");
  }
  expect(deleted == 1, "given back once");
  tell([&] { Tensor::from_dlpack(engine, nullptr); });
  const auto refused = [&](const std::function<void(DLTensor&)>& change) {
    DLManagedTensor wrong = managed;
    change(wrong.dl_tensor);
    tell([&] { Tensor::from_dlpack(engine, &wrong); });
  };
  refused([](DLTensor& w) { w.dtype.bits = 64; });
  refused([](DLTensor& w) { w.dtype.code = kDLUInt; });
  refused([](DLTensor& w) { w.device.device_type = 8; });
  refused([](DLTensor& w) { w.device.device_type = kDLCUDA; });
  refused([](DLTensor& w) { w.ndim = 9; });
  refused([&](DLTensor& w) {
    static int64_t columns[] = {1, 2};
    w.strides = columns;
  });
  refused([](DLTensor& w) { w.data = nullptr; });
  refused([](DLTensor& w) { w.byte_offset = 2; });
  refused([](DLTensor& w) {
    static int64_t negative[] = {-1, 2};
    w.shape = negative;
  });
  expect(deleted == 1, "what was refused stays its owner's");
  std::printf("memory is shared\n");
}

void gpu() {
  const Engine engine = test_engine();
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const Tensor tensor(engine, {2, 3}, values);
  DLManagedTensor* shared = tensor.to_dlpack();
  const DLTensor& t = shared->dl_tensor;
  expect(t.device.device_type == kDLCUDA && t.device.device_id == 0, "the device");
  tell([&] { Tensor::from_dlpack(Engine("cpu", 1), shared); });
  // The same memory once more, as if it were somebody else's.
  DLManagedTensor other = *shared;
  other.deleter = [](DLManagedTensor*) { deleted += 1; };
  {
    const Tensor back = Tensor::from_dlpack(engine, &other);
    expect(back.floats() == values, "the values");
    Linear linear(engine, 3, 1, false);
    linear.forward(back);
  }
  engine.synchronize();
  engine.synchronize();  // the first may have begun while the memory was still in use
  expect(deleted == 1, "given back once");
  fused_rnn_delete(shared);
  expect(tensor.floats() == values, "ours is still there");
  std::printf("memory is shared\n");
}

// A training on an engine of its own: the last loss.
float train_a_little() {
  Engine engine("cpu", 1);
  engine.manual_seed(5);
  Embedding embedding(engine, 7, 8);
  GRU gru(engine, 8, 8);
  Linear linear(engine, 8, 7);
  Parameters all = embedding.parameters();
  for (const Parameters& more : {gru.parameters(), linear.parameters()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  SGD optimizer(all, {.lr = 0.5, .max_grad_norm = 1});
  const std::vector<int32_t> from = {0, 1, 2, 3, 4, 5}, to = {1, 2, 3, 4, 5, 6};
  const Tensor input(engine, {6, 1}, from), target(engine, {6}, to);
  Tensor loss;
  for (int step = 0; step < 100; ++step) {
    optimizer.zero_grad();
    const Tensor x = embedding.forward(input);
    Recurrent::Saved saved;
    const Tensor y = gru.forward(x, {}, &saved).output.reshape({6, 8});
    const CrossEntropyLoss cross_entropy;
    CrossEntropyLoss::Saved saved_loss;
    loss = cross_entropy.forward(linear.forward(y), target, &saved_loss);
    const Tensor dy = linear.backward(y, cross_entropy.backward(saved_loss));
    embedding.backward(input, gru.backward(saved, dy.reshape({6, 1, 8})).input);
    optimizer.step();
  }
  return loss.item();
}

void threads() {
  const float alone = train_a_little();
  float losses[4] = {};
  std::vector<std::thread> all;
  for (float& loss : losses) all.emplace_back([&loss] { loss = train_a_little(); });
  for (std::thread& thread : all) thread.join();
  for (float loss : losses) expect(loss == alone, "the same numbers in every thread");
  expect(alone < 0.1F, "it has learnt");
  std::printf("the same numbers\n");
}

// Two models, one after the other into the same folder, until somebody ends it.
void save_in_turns(const char* a, const char* b, const char* to) {
  const Engine engine("cpu", 1);
  const LanguageModel models[] = {LanguageModel::load(engine, a), LanguageModel::load(engine, b)};
  std::printf("begins\n");
  std::fflush(stdout);
  for (size_t i = 0;; ++i) models[i % 2].save(to);
}

// What tells the models apart: a weight, the dropout, a token.
void load_again(const char* path, int times) {
  const Engine engine("cpu", 1);
  for (int i = 0; i < times; ++i) {
    const LanguageModel model = LanguageModel::load(engine, path);
    std::printf("%g %g %s\n", static_cast<double>(model.parameters()[0].second->value.floats()[0]),
                model.config().dropout, model.tokens().empty() ? "" : model.tokens()[0].c_str());
  }
}

// ---- Models of tasks --------------------------------------------------------------------------

// "1,2.5,nan"
std::vector<double> numbers(const char* text) {
  std::vector<double> list;
  while (*text != '\0') {
    char* end = nullptr;
    list.push_back(std::strtod(text, &end));
    if (end == text) throw std::invalid_argument("not numbers");
    text = *end == ',' ? end + 1 : end;
  }
  return list;
}

void forecast(char** argv) {
  const Forecaster model = Forecaster::load(test_engine(), argv[2]);
  const auto rows = numbers(argv[3]), future = numbers(argv[4]), times = numbers(argv[5]);
  const Forecast said = model.predict(rows, future, times);
  for (size_t k = 0; k < said.targets.size(); ++k) {
    for (size_t q = 0; q < said.quantiles.size(); ++q) {
      std::printf("%s %g", said.targets[k].c_str(), said.quantiles[q]);
      for (size_t h = 0; h < static_cast<size_t>(said.horizon); ++h) {
        std::printf(" %.17g", said.at(k, q, h));
      }
      std::printf("\n");
    }
  }
}

void classify(int argc, char** argv) {
  const SequenceClassifier model = SequenceClassifier::load(test_engine(), argv[2]);
  Classification said;
  if (std::strcmp(argv[3], "tokens") == 0) {
    const std::vector<std::string> tokens(argv + 4, argv + argc);
    said = model.predict(tokens);
  } else {
    said = model.predict(numbers(argv[3]));
  }
  std::printf("%s", said.label.c_str());
  for (const float score : said.scores) std::printf(" %.9g", score);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  try {
    if (mode == "layers" && argc == 4) {
      layers(argv[2], argv[3]);
    } else if (mode == "precision" && argc == 4) {
      precision(argv[2], argv[3]);
    } else if (mode == "lstm" && argc == 5) {
      converted(argv[2], argv[3], argv[4]);
    } else if (mode == "files") {
      const Engine engine("cpu", 1);
      for (int i = 2; i < argc; ++i) tell([&] { load_safetensors(engine, argv[i]); });
    } else if (mode == "models") {
      const Engine engine("cpu", 1);
      for (int i = 2; i < argc; ++i) tell([&] { LanguageModel::load(engine, argv[i]); });
    } else if (mode == "forecast" && argc == 6) {
      tell([&] { forecast(argv); });
    } else if (mode == "classify" && argc >= 4) {
      tell([&] { classify(argc, argv); });
    } else if (mode == "save" && argc == 5) {
      save_in_turns(argv[2], argv[3], argv[4]);
    } else if (mode == "load" && argc == 4) {
      load_again(argv[2], std::atoi(argv[3]));
    } else if (mode == "arguments") {
      arguments();
    } else if (mode == "memory") {
      memory();
    } else if (mode == "gpu") {
      gpu();
    } else if (mode == "threads") {
      threads();
    } else {
      return 2;
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
