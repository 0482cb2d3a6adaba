# Compiler flags of every target: the C dialect, warnings as errors, sanitizers.
# SPDX-License-Identifier: Apache-2.0

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

separate_arguments(mg_optimize UNIX_COMMAND "${MG_OPTIMIZE}")
add_compile_options(${mg_optimize} -fno-omit-frame-pointer -fno-strict-aliasing -fno-common
  -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=)
add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64)
if(MG_OPTIMIZE MATCHES "-O2" AND NOT MG_SANITIZE)
  add_compile_options(-fstack-protector-strong)
  add_compile_definitions(_FORTIFY_SOURCE=2)
endif()
if(MG_OPTIMIZE MATCHES "--coverage")
  add_link_options(--coverage)
endif()
if(MG_LOCK_CHECK)
  add_compile_definitions(MG_LOCK_CHECK=1)
endif()

if(MG_SANITIZE)
  add_compile_options(-fsanitize=${MG_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MG_SANITIZE})
endif()
if(MG_FUZZER)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "the preset fuzz needs clang: libFuzzer is part of it")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Warnings of our own code; generated code does without (mg_proto).
set(MG_WARNINGS -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2
  -Wredundant-decls -Wdate-time -Wimplicit-fallthrough -Wno-unused-parameter)
set(MG_WARNINGS_C -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition)
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
  list(APPEND MG_WARNINGS -Wthread-safety -Wno-gnu-statement-expression)
else()
  # Paths and messages are cut at a limit on purpose: -Wformat-truncation would forbid snprintf's best use.
  list(APPEND MG_WARNINGS -Wlogical-op -Wduplicated-cond -Wno-format-truncation)
  if(MG_SANITIZE) # instrumented code makes gcc see uninitialised values that are none; the other presets look for them
    list(APPEND MG_WARNINGS -Wno-maybe-uninitialized)
  endif()
endif()

if(MG_WERROR)
  list(APPEND MG_WARNINGS -Werror)
endif()

# Options that every test process gets; a finding ends it.
set(MG_TEST_ENVIRONMENT
  "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0"
  "UBSAN_OPTIONS=print_stacktrace=1"
  "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")
