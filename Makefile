# Two commands do it: `make run` and `make test`. The scripts that they call say what they do.
SEEDS ?= 300
FUZZ_SECONDS ?= 60
.DEFAULT_GOAL := help
.PHONY: help run test build bench sim sim-mutants fuzz clean

help:
	@echo 'make run            build, start a relay on http://localhost:8080 and https://localhost:8443, say how to begin'
	@echo 'make test           check everything (scripts/test.sh STAGE runs one stage)'
	@echo 'make build          build transomd and transom into target/release'
	@echo 'make sim SEEDS=N    simulate N whole systems with faults; a failing seed says how to reproduce it'
	@echo 'make sim-mutants    plant known bugs one by one; the simulator must find each'
	@echo 'make bench          measure, beside baselines; JSON lines in target/bench.jsonl'
	@echo 'make fuzz           fuzz each parser for FUZZ_SECONDS=60 (needs a nightly compiler)'
	@echo 'make clean          remove everything that was built; the data of `make run` stays'

run:
	@scripts/run.sh

test:
	@SEEDS=$(SEEDS) scripts/test.sh

build:
	@scripts/setup.sh run
	@scripts/build.sh

sim:
	@scripts/sim.sh run --seeds $(SEEDS)

sim-mutants:
	@scripts/sim.sh mutants

bench:
	@scripts/bench.sh

fuzz:
	@bash -c '. scripts/lib.sh && exec fuzz/run.sh $(FUZZ_SECONDS)'

clean:
	cargo clean
