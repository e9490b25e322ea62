# Every target explains itself: `make help`. Slow steps leave a stamp and run again only when their inputs change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BEGAN := $(shell date +%s)
PROTOS := $(shell find protos -name '*.proto')
SOURCES := services guqiao_sdk guqiaoctl tests deploy bench
# $(TELL) "what it is" COMMAND: run it, and say on standard error every two seconds that it still runs.
TELL := sh -c 'what=$$1; shift; began=$$(date +%s); \
	(while sleep 2; do echo "  $$what ($$(($$(date +%s) - began)) s)" >&2; done) >/dev/null & teller=$$!; \
	trap "kill $$teller" EXIT; trap "exit 130" INT TERM; "$$@"' tell
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev proto run demo check lint types imports proto-lint tidy test test-kafka \
	first-steps simulate endurance soak coverage planted fuzz crash partitions golden bench bench-cpu bench-star manifests compliance lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A virtual environment whose making was cut off has no .created, and is made anew.
$(VENV)/.runtime: requirements.lock
	@echo "installing the pinned packages: half a minute or more, only this once" >&2
	@test -e $(VENV)/.created && $(BIN)/python -m pip --version >/dev/null 2>&1 || \
		{ $(TELL) "making $(VENV)" $(PYTHON) -m venv --clear $(VENV) && touch $(VENV)/.created; }
	@$(TELL) "installing the pinned packages" $(PIP) --require-hashes -r requirements.lock
	@touch $@

# After the code is generated, which the installation takes in as one of its packages.
$(VENV)/.installed: pyproject.toml gen/.stamp
	@$(TELL) "installing guqiao" $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	@$(TELL) "installing the developers' tools" $(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

gen/.stamp: $(PROTOS) requirements.lock | $(VENV)/.runtime
	@rm -rf gen && mkdir gen
	@$(TELL) "generating code" $(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=gen --grpc_python_out=gen $(PROTOS:protos/%=%)
	@touch $@

gen/.stamp-types: gen/.stamp $(VENV)/.development
	$(BIN)/python -m grpc_tools.protoc -Iprotos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_out=quiet:gen --mypy_grpc_out=quiet:gen $(PROTOS:protos/%=%)
	touch $@

setup: $(VENV)/.installed ## Create the virtual environment and the generated code

setup-dev: $(VENV)/.development $(VENV)/.installed gen/.stamp-types ## The same, with what developers need

run: setup ## The whole network with demonstration data, kept in ./.guqiao, until Ctrl-C
	@$(TELL) "compiling" $(BIN)/python -m compileall -q services guqiao_sdk guqiaoctl gen >&2
	@exec $(BIN)/guqiao dev up --demo-data

demo: setup ## Play the main job in a fresh folder; the last line is one JSON object
	@$(TELL) "compiling" $(BIN)/python -m compileall -q services guqiao_sdk guqiaoctl gen >&2
	@exec $(BIN)/python -m guqiaoctl.demo $(BEGAN)

proto: gen/.stamp ## Generate Python from the contracts, when they changed

check: lint types imports proto-lint tidy manifests test ## Everything that a change must pass, in order of speed

lint: $(VENV)/.development
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: gen/.stamp-types
	$(BIN)/mypy $(SOURCES)

imports: gen/.stamp $(VENV)/.development
	$(BIN)/lint-imports

proto-lint: $(VENV)/.development
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format -d --exit-code

# Bytecode is kept even where the environment says not to: hundreds of processes would compile anew.
test: export PYTHONDONTWRITEBYTECODE =
test: gen/.stamp-types ## Unit, simulation, golden, contract, integration and end-to-end tests; needs nothing but PyPI
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not first_steps" tests/unit tests/simulation tests/golden tests/contract
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not kafka and not crash" tests/integration
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not kafka and not crash and not first_steps" tests/end_to_end

test-kafka: gen/.stamp-types ## The bus over a real Apache Kafka (GUQIAO_KAFKA_BOOTSTRAP, Docker, or Maven and Java)
	$(BIN)/python -m pytest -m kafka tests/kafka

first-steps: gen/.stamp $(VENV)/.development ## Set-up cut off and made good; a folder of two years ago; docs/first-steps.md as it is written
	$(BIN)/python -m pytest -m first_steps tests/unit/cli tests/end_to_end

simulate: $(VENV)/.development gen/.stamp ## Hostile simulated clusters: SEEDS=n runs many (GRID=n, TWINS=n: and of these), SEED=k or SCENARIO=name one
	@$(BIN)/python -m tests.simulation $(if $(SCENARIO),--scenario $(SCENARIO),$(if $(SEED),--seed $(SEED),$(if $(SEEDS),--seeds $(SEEDS)) $(if $(GRID),--grid $(GRID)) $(if $(TWINS),--twins $(TWINS))))

endurance: $(VENV)/.development gen/.stamp ## Known mistakes of clusters at full length: ten minutes of overload, all histories of a batch
	$(BIN)/python -m pytest -n 2 tests/endurance

soak: $(VENV)/.development gen/.stamp ## Steady load on four real replicas, a fault each minute, nothing that they hold grows: SOAK="--minutes 120" asks for more
	@PYTHONPATH=.:gen $(BIN)/python -m tests.endurance.soak $(SOAK)

coverage: $(VENV)/.development gen/.stamp ## Branch coverage of consensus, log, gateway verifier, authorisation and crypto wrapper, at least 95 %; last line JSON
	$(BIN)/python -m pytest -q tests/branches
	@PYTHONPATH=.:gen $(BIN)/python -m tests.branches

planted: $(VENV)/.development gen/.stamp ## Plant known PBFT mistakes in a copy, each must be caught; ROW="P5" for one
	$(BIN)/python -m pytest -q tests/planted
	@$(BIN)/python -m tests.planted $(if $(ROW),"$(ROW)")

fuzz: gen/.stamp $(VENV)/.development ## Structure-aware fuzzing of every decoder: INPUTS=n for each, SEED=k for others, TARGET="name" for one
	$(BIN)/python -m pytest -q tests/fuzz
	@$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),2000) --seed $(or $(SEED),0) $(if $(TARGET),--target "$(TARGET)")

crash: gen/.stamp $(VENV)/.development ## Kills under load, failing system calls, damage, power cuts: CRASH="--kills 10000" asks for more
	$(BIN)/python -m pytest -n 2 tests/crash
	$(BIN)/python -m pytest -n 2 --dist loadfile -m crash tests/integration tests/end_to_end
	@$(BIN)/python -m tests.crash $(CRASH)

partitions: gen/.stamp $(VENV)/.development ## Cuts, delay and loss between replicas in network namespaces: PARTITIONS="--episodes 240" asks for more
	$(BIN)/python -m pytest -q tests/partitions
	@PYTHONPATH=.:gen $(BIN)/python -m tests.partitions $(PARTITIONS)

tidy: gen/.stamp-types ## What the source tree, the documents and the rule catalogue must keep
	$(BIN)/python -m pytest -n 2 tests/tidy

manifests: gen/.stamp-types ## Render the Kubernetes overlays and check them, offline; each rule notices what breaks it
	$(BIN)/python -m deploy.check_manifests
	$(BIN)/python -m pytest -n 2 tests/deploy

golden: gen/.stamp-types ## Record the golden files anew; read the difference before you commit it
	REWRITE=1 $(BIN)/python -m pytest -q tests/golden

bench: $(VENV)/.development gen/.stamp ## Speed against the machine's own limits, four replica processes; last line JSON
	@PYTHONPATH=.:gen $(BIN)/python -m bench

bench-cpu: $(VENV)/.development gen/.stamp ## CPU time a transaction, in verifications, against the recorded figure
	@PYTHONPATH=.:gen $(BIN)/python -m bench.cpu_guard

bench-star: $(VENV)/.development gen/.stamp ## Calls of a star/1 contract a second, against the starlark package; last line JSON
	@PYTHONPATH=.:gen $(BIN)/python -m bench.star

compliance: ## Comes later: which requirement is shown by which test
	@echo "make compliance comes with the compliance work; tests already cite docs/requirements.md" >&2; exit 1

lock: ## Resolve the pins again (both lock files)
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --python-version 3.11 requirements/runtime.in -o requirements.lock
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --python-version 3.11 -c requirements.lock requirements/development.in -o requirements-dev.lock

clean: ## Remove what was built here (not the data of a network)
	rm -rf gen build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache $(VENV)
