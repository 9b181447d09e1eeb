#include "api/json.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <unordered_set>

namespace fused_rnn {
namespace {

constexpr int kMaxDepth = 32;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json result = value(0);
    space();
    if (at_ != text_.size()) fail("the end");
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw std::runtime_error("not JSON: expected " + expected + " at byte " + std::to_string(at_));
  }
  // 0 at the end, which is no character of JSON.
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (next() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c, const char* what) {
    if (!take(c)) fail(what);
  }
  void space() {
    while (next() == ' ' || next() == '\n' || next() == '\r' || next() == '\t') ++at_;
  }

  Json value(int depth) {
    if (depth > kMaxDepth) fail("at most " + std::to_string(kMaxDepth) + " levels");
    space();
    switch (next()) {
      case '{':
        return {object(depth)};
      case '[':
        return {array(depth)};
      case '"':
        return {string()};
      case 't':
        return word("true", Json{true});
      case 'f':
        return word("false", Json{false});
      case 'n':
        return word("null", Json{nullptr});
      default:
        return {number()};
    }
  }

  Json word(std::string_view expected, Json result) {
    if (text_.substr(at_, expected.size()) != expected) fail("a value");
    at_ += expected.size();
    return result;
  }

  // The members up to the closing bracket.
  template <class F>
  void members(char close, const char* expected, F member) {
    ++at_;
    space();
    if (take(close)) return;
    for (;;) {
      member();
      space();
      if (take(close)) return;
      expect(',', expected);
    }
  }

  Json::Object object(int depth) {
    Json::Object result;
    std::unordered_set<std::string> names;
    members('}', ", or }", [&] {
      space();
      if (next() != '"') fail("a string");
      std::string name = string();
      if (!names.insert(name).second) {
        throw std::runtime_error("not JSON: '" + name + "' stands twice");
      }
      space();
      expect(':', ":");
      Json member = value(depth + 1);
      result.emplace_back(std::move(name), std::move(member));
    });
    return result;
  }

  Json::Array array(int depth) {
    Json::Array result;
    members(']', ", or ]", [&] { result.push_back(value(depth + 1)); });
    return result;
  }

  bool digits() {
    const size_t begin = at_;
    while (next() >= '0' && next() <= '9') ++at_;
    return at_ > begin;
  }

  double number() {
    const size_t begin = at_;
    take('-');
    if (!take('0') && !digits()) fail("a value");
    if (take('.') && !digits()) fail("a digit");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) fail("a digit");
    }
    // Not strtod, which reads numbers as the program's locale writes them.
    std::istringstream stream{std::string(text_.substr(begin, at_ - begin))};
    stream.imbue(std::locale::classic());
    double result = 0;
    if (!(stream >> result)) fail("a number within a double's range before");
    return result;
  }

  uint32_t hex4() {
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = next();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("four hexadecimal digits");
      result = result * 16 + static_cast<uint32_t>(digit);
      ++at_;
    }
    return result;
  }

  static void append_utf8(std::string& out, uint32_t point) {
    const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
    if (point < 0x80) return put(point);
    if (point < 0x800) {
      put(0xC0 | point >> 6);
    } else if (point < 0x10000) {
      put(0xE0 | point >> 12);
      put(0x80 | (point >> 6 & 0x3F));
    } else {
      put(0xF0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3F));
      put(0x80 | (point >> 6 & 0x3F));
    }
    put(0x80 | (point & 0x3F));
  }

  void escape(std::string& out) {
    static constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const size_t found = kNames.find(next());
    if (at_ < text_.size() && found != std::string_view::npos) {
      ++at_;
      out += kMeanings[found];
      return;
    }
    expect('u', "an escape");
    uint32_t point = hex4();
    if (point >= 0xD800 && point < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const uint32_t low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a character before");
      point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
    } else if (point >= 0xD800 && point <= 0xDFFF) {
      fail("both halves of a character");
    }
    append_utf8(out, point);
  }

  // One character of two to four bytes, as UTF-8 allows it.
  void multibyte(std::string& out) {
    const auto byte = [&](size_t i) -> uint32_t {
      return at_ + i < text_.size() ? static_cast<uint8_t>(text_[at_ + i]) : 0;
    };
    const uint32_t lead = byte(0);
    const size_t count = lead >= 0xC2 && lead < 0xE0   ? 2
                         : lead >= 0xE0 && lead < 0xF0 ? 3
                         : lead >= 0xF0 && lead < 0xF5 ? 4
                                                       : 0;
    bool ok = count > 0;
    uint32_t point = lead & (0x7F >> count);
    for (size_t i = 1; ok && i < count; ++i) {
      ok = (byte(i) & 0xC0) == 0x80;
      point = point << 6 | (byte(i) & 0x3F);
    }
    ok = ok && (count != 3 || (point >= 0x800 && (point < 0xD800 || point > 0xDFFF))) &&
         (count != 4 || (point >= 0x10000 && point <= 0x10FFFF));
    if (!ok) fail("UTF-8");
    out += text_.substr(at_, count);
    at_ += count;
  }

  std::string string() {
    ++at_;
    std::string result;
    for (;;) {
      if (at_ == text_.size()) fail("\"");
      const auto c = static_cast<uint8_t>(next());
      if (c == '"') {
        ++at_;
        return result;
      }
      if (c < 0x20) fail("no control character");
      if (c == '\\') {
        ++at_;
        escape(result);
      } else if (c < 0x80) {
        result += static_cast<char>(c);
        ++at_;
      } else {
        multibyte(result);
      }
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view name) const {
  const Object* object = as<Object>();
  if (object == nullptr) return nullptr;
  for (const auto& [other, member] : *object) {
    if (other == name) return &member;
  }
  return nullptr;
}

Json parse_json(std::string_view text) { return Parser(text).document(); }

std::string json_string(std::string_view text) {
  static constexpr std::string_view kShort = "\b\f\n\r\t", kLetters = "bfnrt";
  std::string result = "\"";
  for (const char c : text) {
    const size_t found = kShort.find(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (found != std::string_view::npos) {
      result += '\\';
      result += kLetters[found];
    } else if (static_cast<uint8_t>(c) < 0x20) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      result += "\\u00";
      result += kDigits[static_cast<size_t>(c) >> 4];
      result += kDigits[static_cast<size_t>(c) & 15];
    } else {
      result += c;
    }
  }
  return result + '"';
}

namespace {

// As ECMAScript's Number::toString: the shortest digits that give the number back.
std::string number_text(double value) {
  if (value == 0) return "0";
  char buffer[40];
  const auto [last, error] =
      std::to_chars(buffer, buffer + sizeof buffer, std::abs(value), std::chars_format::scientific);
  std::string digits(buffer, last);
  const size_t e = digits.find('e');
  const int point = std::stoi(digits.substr(e + 1)) + 1;  // digits before the decimal point
  digits.resize(e);
  if (digits.size() > 1) digits.erase(1, 1);
  const int count = static_cast<int>(digits.size());
  std::string result = value < 0 ? "-" : "";
  if (point > 21 || point <= -6) {
    const int power = point - 1;
    const std::string fraction = count > 1 ? "." + digits.substr(1) : "";
    return result + digits[0] + fraction + (power < 0 ? "e-" : "e+") +
           std::to_string(std::abs(power));
  }
  if (point <= 0) return result + "0." + std::string(static_cast<size_t>(-point), '0') + digits;
  if (count <= point) return result + digits + std::string(static_cast<size_t>(point - count), '0');
  return result + digits.substr(0, static_cast<size_t>(point)) + "." +
         digits.substr(static_cast<size_t>(point));
}

}  // namespace

std::string json_text(const Json& json) {
  if (const auto* text = json.as<std::string>()) return json_string(*text);
  if (const auto* number = json.as<double>()) return number_text(*number);
  if (const auto* flag = json.as<bool>()) return *flag ? "true" : "false";
  std::string result;
  if (const auto* array = json.as<Json::Array>()) {
    for (const Json& item : *array) result += (result.empty() ? "" : ",") + json_text(item);
    return "[" + result + "]";
  }
  if (const auto* object = json.as<Json::Object>()) {
    for (const auto& [name, member] : *object) {
      result += (result.empty() ? "" : ",") + json_string(name) + ":" + json_text(member);
    }
    return "{" + result + "}";
  }
  return "null";
}

}  // namespace fused_rnn
