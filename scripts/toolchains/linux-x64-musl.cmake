# Linux with musl (Alpine), by zig on any Linux: see zig-c++ for where to get it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-c++)
set(CMAKE_CXX_COMPILER_TARGET x86_64-linux-musl)
# Programs that CMake links to try the compiler would each have zig make its libraries.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(FUSED_RNN_HAS_EXCLUDE_LIBS OFF CACHE INTERNAL "zig's linker has no such flag")
# Clang asks __cpu_model which instructions there are. GCC's library has it, and it needs no C library.
execute_process(COMMAND gcc -print-libgcc-file-name
  OUTPUT_VARIABLE libgcc OUTPUT_STRIP_TRAILING_WHITESPACE)
set(CMAKE_CXX_STANDARD_LIBRARIES_INIT ${libgcc})
set(CMAKE_STRIP strip)
