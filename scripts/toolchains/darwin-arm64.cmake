# macOS on Apple's processors, by zig on any system: see zig-c++ for where to get it.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_CXX_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-c++)
set(CMAKE_CXX_COMPILER_TARGET aarch64-macos.13.0)
# Zig makes its libraries once for each level, also for what CMake only tries.
set(CMAKE_CXX_FLAGS_INIT -O2)
set(CMAKE_STRIP true)
