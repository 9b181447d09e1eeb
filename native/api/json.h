// JSON as files of tensors and models have it: strict (RFC 8259), with names once in an object, and
// of limited depth. It says what ts/io/json.ts says.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace fused_rnn {

struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the text
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value = nullptr;

  // Null when it is something else.
  template <class T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  // The member of that name; null when there is none, or this is no object.
  const Json* find(std::string_view name) const;
};

// Throws std::runtime_error: "not JSON: expected , or } at byte 17".
Json parse_json(std::string_view text);

// With quotes and escapes, as JavaScript's JSON.stringify has them.
std::string json_string(std::string_view text);
// What JSON.stringify makes of a value, to the character.
std::string json_text(const Json& json);

}  // namespace fused_rnn
