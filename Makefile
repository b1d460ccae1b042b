# Every target sets up what it needs: a fresh clone goes straight to `make demo` or `make test`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXAMPLES := lstm gru
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# The pages that the console serves are in the wheel, where there is a target that makes them.
DOCS = $(if $(shell grep -s '^docs:' Makefile),docs)
# The calibrated version that `make demo-stream` serves: its sessions report anomalies.
STREAM := runs/stream-repository/beijing-lstm/1
# The first interpreter that runs and is new enough; `make PYTHON=...` names another.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
# Passed on to pytest: make test PYTEST="-k fold -x"
PYTEST ?=
# Processes that run tests. Many tests wait for a server, so two for each of two cores keep these busy.
WORKERS ?= 4
# Bytecode is kept, whatever the caller's habit: each of these processes would compile all tests again.
RUN_TESTS = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup $(PYTEST)
# Passed on to the benchmark in place of --docs: make bench BENCH="--only 1,3 --rounds 5"
BENCH ?=
# Passed on to the faults: make faults FAULTS="--only kill-service --seed 7"
FAULTS ?=
# Passed on to the program that builds the image: make image IMAGE="--build-arg PYTHON=registry.example.com/python:3.11-slim"
IMAGE ?=
# Passed on to the kills and the measurement of connectors: make connect-faults CONNECT="--seed 7 --runs 1"
CONNECT ?=
# Passed on to the roll-outs: make rollout ROLLOUT="--quick --only kill-pod"
ROLLOUT ?=
# Passed on to the hostile clients: make hostile HOSTILE="--only decoders --seed 7"
HOSTILE ?=
# Passed on to the contract: make contract CONTRACT="--seed 7", or the URL of a server
CONTRACT ?=
# Passed on to the zoo: make zoo ZOO="--only lstm"
ZOO ?=
# Passed on to the cluster of many shards: make scale SCALE="--shards 4 --sessions 100000"
SCALE ?=
# Passed on to the comparison of networks: make networks NETWORKS="--only LSTM"
NETWORKS ?=
# Passed on to the soak: make soak SOAK="--minutes 2"
SOAK ?=
# Passed on to the libraries: make libraries LIBRARIES="--only darts"
LIBRARIES ?=
# Passed on to the trial of the wheel: make dist-check DIST="client serve"
DIST ?=
# The version to write: make version TO=1.2.3
TO ?=
# Passed on to the planted faults: make mutants MUTANTS="--only sessions"
MUTANTS ?=

OPERATOR_RULES := deploy/kubernetes/components/monitoring/prometheusrule.yaml

# No usage reports from a build or a test.
export BENTOML_DO_NOT_TRACK := True

##@ For users

.PHONY: demo
demo: models ## train, export and serve the examples, replay held-out hours through live sessions and a kill -9, draw demo.png
	@$(BIN)/python -m examples.demo

.PHONY: demo-stream
demo-stream: $(STREAM)/model.json ## run sensors over MQTT, `ostinato connect`, webhooks and two kills, and compare each answer to the bit; needs mosquitto
	@$(BIN)/python -m examples.demo_stream

.PHONY: serve
serve: models ## serve the trained examples until Ctrl-C; their sessions are in state/
	@$(BIN)/ostinato serve --repository repository --state lmdb://state

.PHONY: notebook
notebook: setup ## run examples/notebook from its CSV to a live forecast, and write it as live_forecast.ipynb
	@$(BIN)/jupytext --quiet --to ipynb --execute examples/notebook/live_forecast.py

.PHONY: models
models: $(EXAMPLES:%=repository/beijing-%/1/model.json) ## train and export the examples into repository/, if they are missing or older than their sources

##@ For developers

.PHONY: setup
setup: $(READY) ## create .venv with the pinned dependencies and this project

.PHONY: test
test: setup tools ## run all tests except the long ones (make test PYTEST="-k name" runs some)
	@$(RUN_TESTS)

.PHONY: check
check: setup tools ## run the gate: lint, format, types, the site of the docs, tests
	@echo "==> ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy"; $(BIN)/mypy
	@$(MAKE) --no-print-directory docs
	@echo "==> pytest"; $(RUN_TESTS)

.PHONY: long
long: setup tools ## run the tests that `make test` leaves out because they take long
	@$(RUN_TESTS) -m long

.PHONY: docs
docs: setup ## build the site of docs/ in build/site, with warnings as errors; servers show it under /docs/
	@echo "==> sphinx"; rm -rf build/site
	@$(BIN)/python -m sphinx -b html -E $$([ -t 1 ] || echo -q) -W --keep-going -d build/doctrees docs build/site
	@$(BIN)/python -m docs.site.archive build/site service/edge/site/site.zip

.PHONY: reference
reference: setup ## write the pages of docs/ that are made from the code: settings, routes, errors, client, commands, metrics, ...
	@$(BIN)/python -m ostinato.tools.reference docs

.PHONY: bench-connect
bench-connect: setup ## measure the processor time of each reading from Kafka to Kafka through a connector (make bench-connect CONNECT="--profile 20")
	@$(BIN)/python -m benchmarks.connect $(CONNECT)

.PHONY: bench
bench: setup ## measure the service compared with the limits of the machine and three baselines, and write docs/performance.md (make bench BENCH=--quick)
	@$(BIN)/python -m benchmarks $(if $(BENCH),$(BENCH),--docs)

.PHONY: scale
scale: setup ## fill a Redis Cluster of 16 shards with two million sessions, step them, lose a shard; needs 4 GB (make scale SCALE="--sessions 100000")
	@$(BIN)/python -m benchmarks.scale $(SCALE)

.PHONY: networks
networks: setup ## train a small model of every network, export it, and print the table of docs/models.md; a quarter of an hour
	@$(BIN)/python -m benchmarks.networks $(NETWORKS)

.PHONY: faults
faults: setup ## kill processes, stop them and cut connections under load, more than a thousand times; about an hour (make faults FAULTS=--quick)
	@$(BIN)/python -m tests.faults $(FAULTS)

.PHONY: connect-faults
connect-faults: setup tools ## kill connectors and services between two topics, and check every answer; about an hour (make connect-faults CONNECT="--runs 1")
	@$(BIN)/python -m tests.connectors $(CONNECT)

.PHONY: rollout
rollout: setup tools ## replace and kill three replicas behind nginx, and their Redis, under load; about an hour; needs nginx (make rollout ROLLOUT=--quick)
	@$(BIN)/python -m tests.deploy.rollout $(ROLLOUT)

.PHONY: chart
chart: setup tools rules ## write the templates of deploy/helm/ostinato from deploy/kubernetes
	@$(BIN)/python -m tests.deploy.chart

.PHONY: dist
dist: setup $(DOCS) ## build the source distribution and the wheel in dist/, and check what they contain
	@$(BIN)/python -m release.distributions dist

.PHONY: dist-check
dist-check: dist ## install only the wheel of dist/ with each extra, and run its commands (make dist-check DIST="serve --python python3.13")
	@$(BIN)/python -m release.trial dist $(DIST)

.PHONY: sbom
sbom: setup ## list the components of the image, as CycloneDX in dist/: all that requirements/serving.lock has
	@mkdir -p dist
	@# Its warning: a list of requirements does not say which of them needs which.
	@PYTHONWARNINGS=ignore::UserWarning $(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
		--output-file dist/ostinato-$(VERSION).cdx.json requirements/serving.hashes

.PHONY: platforms
platforms: setup ## ask the package index for which systems each extra has wheels, and write the table of docs/platforms.md
	@$(BIN)/python -m release.platforms docs/platforms.md

.PHONY: release-notes
release-notes: setup ## print what CHANGELOG.md says about the version in pyproject.toml
	@$(BIN)/python -m release.notes $(VERSION)

.PHONY: version
version: setup ## print the version, or write another one everywhere (make version TO=1.2.3)
	@$(BIN)/python -m release.version $(TO)

# Podman and Buildah keep a health check in Docker's format alone.
.PHONY: image
image: dist ## build the image of deploy/Dockerfile, with the models of repository/ if there are some; needs docker, podman or buildah
	@builder=$$(for name in docker podman buildah; do command -v $$name && break; done) \
		|| { echo "error: install docker, podman or buildah first" >&2; exit 1; }; \
	target=$$([ -d repository ] && echo with-models || echo runtime); \
	echo "==> building ostinato:$(VERSION) ($$target) by $$builder"; \
	BUILDAH_FORMAT=docker "$$builder" build --file deploy/Dockerfile --target "$$target" --tag "ostinato:$(VERSION)" \
		--build-arg "VERSION=$(VERSION)" $(IMAGE) .

.PHONY: rules
rules: ## copy deploy/prometheus/rules.yml into the component that the Prometheus Operator reads
	@sed '/^  groups:/,$$d' $(OPERATOR_RULES) > $(OPERATOR_RULES).new
	@sed '/^#/d; s/^\(.\)/  \1/' deploy/prometheus/rules.yml >> $(OPERATOR_RULES).new
	@mv $(OPERATOR_RULES).new $(OPERATOR_RULES)

.PHONY: hostile
hostile: setup ## send wrong and hostile messages to decoders and a real server, next to sessions that are checked; about half an hour
	@$(BIN)/python -m tests.hostile $(HOSTILE)

.PHONY: contract
contract: setup ## compare a server with its /openapi.json by schemathesis, with every check; some minutes
	@$(BIN)/python -m tests.process.contract $(CONTRACT)

.PHONY: zoo
zoo: setup ## export, serve and stream every module of the zoo, and compare each with its offline run; some minutes
	@$(BIN)/python -m tests.zoo $(ZOO)

.PHONY: libraries
libraries: .venv-libraries/.ready ## train with darts, neuralforecast and others, serve, and compare with their predictions; some minutes
	@.venv-libraries/bin/python -m tests.libraries $(LIBRARIES)

.PHONY: kserve
kserve: setup .venv-kserve/.ready ## call a server with KServe's own client, over HTTP and gRPC, and compare the answers with offline runs
	@$(BIN)/python -m tests.kserve_client .venv-kserve/bin/python

.PHONY: soak
soak: setup ## run an hour of mixed load: every answer equal to the bit, memory and descriptors constant (make soak SOAK="--minutes 2")
	@$(BIN)/python -m tests.soak $(SOAK)

.PHONY: mutants
mutants: setup ## plant known faults in a copy of the code, one at a time, and check that a test fails for each; about twenty minutes
	@$(BIN)/python -m tests.mutants $(MUTANTS)

.PHONY: format
format: setup ## format the code, and fix what lint can fix
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: protos
protos: setup ## compile service/edge/oip/grpc/inference.proto into the set of descriptors next to it
	@$(BIN)/python -m grpc_tools.protoc --proto_path=service/edge/oip/grpc \
		--descriptor_set_out=service/edge/oip/grpc/inference.binpb inference.proto

.PHONY: lock
lock: setup ## resolve requirements/*.lock again from pyproject.toml
	@$(BIN)/pip install --quiet pip-tools
	@$(call resolve,dev,Everything: serving$(comma) training and export$(comma) tests,--extra dev)
	@$(call resolve,serving,What the service needs$(comma) with every store,--extra serve --extra grpc --extra traces --extra cloud --extra redis --constraint requirements/dev.lock)
	@{ echo "# What lists the image's parts (deploy/Dockerfile), and is not in it; written by \`make lock\`."; \
		echo cyclonedx-bom | $(BIN)/uv pip compile --quiet --no-config --no-header --no-annotate --no-python-downloads \
		--python-version 3.11 --python-platform linux --constraint requirements/dev.lock -; } > requirements/image.lock
	@$(BIN)/python -m release.hashes

.PHONY: clean
clean: ## remove what was built: environment, trained models with their sessions, caches
	@rm -rf $(VENV) .venv-bench .venv-bentoml .venv-triton .venv-libraries .venv-kserve runs repository state build dist service/edge/site/site.zip demo.png *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {line = sprintf("  make %-14s", $$1); n = split($$2, words, " "); \
			for (i = 1; i <= n; i++) { \
				if (length(line) + length(words[i]) >= 80) {print line; line = sprintf("%21s", "")} \
				line = line " " words[i]} \
			print line}' $(MAKEFILE_LIST)

# How it is done -----------------------------------------------------------------------------------------------------

# One line for twenty packages shows that it continues, in a terminal and in a log; the whole log is shown if it fails.
LOG := $(VENV)/install.log
PROGRESS = awk -v total="$$(grep -c == requirements/dev.lock)" \
	'/^Collecting/ && ++n % 20 == 0 {printf "    %d of %d packages\n", n, total; fflush()} \
	/^Installing collected/ {print "    unpacking"; fflush()}'
PIP_INSTALL = $(BIN)/pip install --disable-pip-version-check --no-input --progress-bar off

$(READY): requirements/dev.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "error: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	@echo "==> installing the pinned dependencies (minutes the first time)"
	@{ $(PIP_INSTALL) -r requirements/dev.lock && $(PIP_INSTALL) --no-deps --no-build-isolation --editable .; } 2>&1 \
		| tee $(LOG) | $(PROGRESS) || { tail -n 40 $(LOG); exit 1; }
	@touch $@
	@echo "==> set up"

# darts asks for an older part of Lightning than neuralforecast does, and works with its own: it comes last.
.venv-libraries/.ready: requirements/libraries.txt requirements/dev.lock
	@echo "==> making .venv-libraries (minutes the first time)"
	@[ -x $(@D)/bin/pip ] || $(PYTHON) -m venv $(@D)
	@{ $(@D)/bin/pip install --quiet --no-input -r requirements/dev.lock -r requirements/libraries.txt && \
		$(@D)/bin/pip install --quiet --no-input --constraint requirements/dev.lock 'u8darts[torch]==0.41.0' && \
		$(@D)/bin/pip install --quiet --no-deps --no-build-isolation --editable .; } >$(@D)/install.log 2>&1 \
		|| { tail -n 40 $(@D)/install.log; exit 1; }
	@touch $@

.venv-kserve/.ready: requirements/kserve.txt
	@echo "==> making .venv-kserve"
	@[ -x $(@D)/bin/pip ] || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/pip install --quiet --no-input -r requirements/kserve.txt >$(@D)/install.log 2>&1 \
		|| { tail -n 40 $(@D)/install.log; exit 1; }
	@touch $@

# The last file that each command writes represents all of them.
runs/beijing-%/run.json: examples/beijing_pm25/%.toml $(wildcard examples/beijing_pm25/*.xz) $(shell find models -name '*.py') | $(READY)
	@echo "==> training beijing-$*"
	@$(BIN)/ostinato train $< --output $(@D)

repository/beijing-%/1/model.json: runs/beijing-%/run.json $(shell find export service/artifact -name '*.py') | $(READY)
	@echo "==> exporting beijing-$*"
	@$(BIN)/ostinato export runs/beijing-$* --repository repository --force
	@$(BIN)/ostinato verify $(@D)

$(STREAM)/model.json: runs/beijing-lstm/run.json $(shell find export service/artifact -name '*.py') | $(READY)
	@echo "==> exporting beijing-lstm with a calibration"
	@$(BIN)/ostinato export runs/beijing-lstm --repository runs/stream-repository --version 1 --force \
		--calibrate 24 --table examples/beijing_pm25/beijing_pm25_hourly.csv.xz --alarm 0.995:0.9 --crossing "pm2.5>150:140"

# Make would take a trained network for a by-product of its export, and delete it.
.SECONDARY: $(EXAMPLES:%=runs/beijing-%/run.json)

.PHONY: tools
tools: $(READY)
	@.ci/install-tools

# $(call resolve,NAME,COMMENT,OPTIONS): the lock has pins and nothing of this machine: no addresses, no local builds.
comma := ,
define resolve
echo "==> resolving requirements/$(1).lock"; \
scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
$(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --no-header --no-annotate --no-emit-options \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	$(3) --output-file "$$scratch/lock" pyproject.toml >/dev/null; \
{ echo "# $(2); written by \`make lock\` from pyproject.toml."; \
	sed -E '/^ostinato @|^#|^$$/d; s/^(torch==[0-9.]+)\+.*/\1/' "$$scratch/lock"; } > requirements/$(1).lock
endef
