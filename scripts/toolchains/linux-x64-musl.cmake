# Linux with musl (Alpine), by zig on any Linux: see zig-c++ for where to get it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-c++)
set(CMAKE_CXX_COMPILER_TARGET x86_64-linux-musl)
# Zig makes its libraries once for each level, also for what CMake only tries.
set(CMAKE_CXX_FLAGS_INIT -O2)
set(CMAKE_STRIP strip)
