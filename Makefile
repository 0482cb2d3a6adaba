# The doors of Magic; what is behind them is CMake (CMakePresets.json) and the scripts in tools/ and tests/.
# SPDX-License-Identifier: Apache-2.0
.DEFAULT_GOAL := build
.PHONY: build spark setup check test test-all test-long asan tsan fuzz model chaos mutants bench lint fmt docs-test demo \
	help clean

SEED ?= 1
SEEDS ?= 1000
KILLS ?= 20

## build       the programs and the Spark client, into build/release/ (the door of plain `make`)
build:
	@tools/build release
	@tools/build spark

## setup       install what building and testing needs; as root, else it prints what to run
setup:
	@tools/setup

## check       unit, contract, golden tests and fuzz corpora: about a minute
check:
	@tools/check release

## test        setup, check, then end to end with a real TiDB and a real Spark: one command on a fresh machine
test:
	@tools/test

## test-all    test, then model, chaos, mutants, asan and tsan: over lunch
test-all: test model chaos mutants asan tsan

## test-long   test-all with ten times the seeds and kills, and an hour of fuzzing; SEED=n repeats a run
test-long:
	@$(MAKE) test-all SEEDS=10000 KILLS=300 SEED=$(SEED)
	@tools/fuzz 300

## asan        check under the address and undefined-behaviour sanitizers
asan:
	@tools/check asan

## tsan        check under the thread sanitizer
tsan:
	@tools/check tsan

## fuzz        each fuzz target for SECONDS (60), from its corpus; TARGETS="journal ..." for some
fuzz:
	@tools/fuzz $(or $(SECONDS),60) $(TARGETS)

## model       state spaces in full; the engine against the model engine, SEEDS (1000) random histories from SEED (1) on
model:
	@tools/build release && tools/door model tests/model/run --seeds $(SEEDS) --seed $(SEED)

## chaos       kill -9 of magicd KILLS (20) times under load, at random and at every named step; SEED=n repeats
chaos:
	@tools/setup && tools/build release && tools/door chaos tests/chaos/run --kills $(KILLS) --seed $(SEED)

## mutants     each patch of tests/mutants/ must make its test fail; MUTANTS="name ..." for some
mutants:
	@tools/mutants $(MUTANTS)

## bench       the benchmarks, quick form; ARGS="apply --json" for one
bench:
	@tools/bench $(ARGS)

## lint        format, house checks, include graph, clang's warnings, clang-tidy, cppcheck, gcc's analyzer
lint:
	@tools/lint

## fmt         lay out all C files
fmt:
	@tools/fmt

## docs-test   run the commands of README.md
docs-test:
	@tools/docs_test README.md

## demo        TiDB, magicd and Spark side by side, with figures; ARGS=--keep leaves them running
demo:
	@tools/setup && tools/door demo tools/demo $(ARGS)

## clean       remove what was built, but not the Python packages and the test upstream
clean:
	@rm -rf build/release build/dev build/asan build/tsan build/fuzz build/clang build/coverage build/lint build/results

## help        this list
help:
	@sed -n 's/^## /  make /p' Makefile
