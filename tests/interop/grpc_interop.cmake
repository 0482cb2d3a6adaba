# grpc_interop.cmake -- our gRPC against grpcio; included by the room's CMakeLists.txt.
# SPDX-License-Identifier: Apache-2.0
set(interop ${CMAKE_SOURCE_DIR}/tests/interop)
mg_program(NAME grpc_peer SOURCES ${interop}/grpc_peer.c DEPENDS grpc)
if(TARGET grpc_peer)
  set(python ${CMAKE_SOURCE_DIR}/build/venv/bin/python)
  if(DEFINED ENV{MAGIC_PYTHON})
    set(python $ENV{MAGIC_PYTHON})
  endif()
  if(EXISTS ${python})
    add_test(NAME grpc_interop COMMAND ${python} ${interop}/grpc_interop.py $<TARGET_FILE:grpc_peer>)
    set_tests_properties(grpc_interop PROPERTIES LABELS interop TIMEOUT 300 SKIP_RETURN_CODE 77
      ENVIRONMENT "${MG_TEST_ENVIRONMENT}")
  endif()
endif()
