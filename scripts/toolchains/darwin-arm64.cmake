# macOS on Apple's processors, by zig on any system: see zig-c++ for where to get it.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_CXX_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-c++)
set(CMAKE_CXX_COMPILER_TARGET aarch64-macos.13.0)
# Programs that CMake links to try the compiler would each have zig make its libraries.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(FUSED_RNN_HAS_EXCLUDE_LIBS OFF CACHE INTERNAL "zig's linker has no such flag")
# Node's functions are the program's; on a Mac cmake-js says so.
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-undefined dynamic_lookup")
# The index of an archive has to be made by who knows these objects. With dynamic_lookup nothing tells
# of a symbol that was not found for want of it.
set(CMAKE_AR ${CMAKE_CURRENT_LIST_DIR}/zig-ar)
set(CMAKE_RANLIB true)
set(CMAKE_INSTALL_NAME_TOOL true)
set(CMAKE_STRIP true)
