# Linux with musl (Alpine), by zig on any Linux: see zig-c++ for where to get it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-c++)
set(CMAKE_CXX_COMPILER_TARGET x86_64-linux-musl)
# Programs that CMake links to try the compiler would each have zig make its libraries.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(FUSED_RNN_HAS_EXCLUDE_LIBS OFF CACHE INTERNAL "zig's linker has no such flag")
set(CMAKE_STRIP strip)
