# One definition of each check; CI calls these targets and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Test processes: two for each core, since most of them wait for something most of the time.
JOBS ?= $(shell echo $$((2 * $$(nproc))))

.DEFAULT_GOAL := help
.PHONY: help install run demo test soak check lint types arrows audit fmt proto envoy-yaml deploy-yaml docs cover fuzz bench bench-peers lock clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@echo "installing into $(VENV): a minute or two, the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

install: $(STAMP)  ## everything, locked versions, into .venv

run: $(STAMP)  ## Envoy and the sidecar in the foreground, by aibridge.toml or else for the login name
	@test -e aibridge.toml || export AIBRIDGE_IDENTITY__DEFAULT_ACTOR=$${AIBRIDGE_IDENTITY__DEFAULT_ACTOR:-$$(id -un)}; \
	exec $(BIN)/aibridge-sidecar up

demo: $(STAMP)  ## four requests through the real Envoy to an example provider; shows records and spans
	$(BIN)/python -m examples.demo

test: $(STAMP)  ## every test, the real Envoy included
	$(BIN)/python -m pytest -n $(JOBS)

soak: $(STAMP)  ## what takes long, in full: a hundred kills for each store, outages of a minute, the image from hashed packages; half an hour
	$(BIN)/python -m pytest -v -s --soak -o faulthandler_timeout=0 tests/e2e/test_crashes.py tests/e2e/test_outages.py tests/e2e/test_sharing.py tests/hostile/test_random_trouble.py tests/deploy/test_image.py

check: lint types arrows audit  ## what CI runs beside the tests: those four, and generated files are current
	$(MAKE) --no-print-directory proto envoy-yaml deploy-yaml docs
	@git diff --exit-code --stat -- sidecar/pb envoy deploy docs/reference || { echo "generated files were not current; commit them"; exit 1; }

lint: $(STAMP)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

arrows: $(STAMP)  ## imports point one way
	$(BIN)/lint-imports

audit: $(STAMP)  ## no dependency with a known vulnerability (as far as the index tells), none under a licence nobody has read
	$(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps -r requirements.lock
	$(BIN)/python tests/licences.py

fmt: $(STAMP)  ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMP)  ## proto/ to sidecar/pb/
	$(BIN)/python -m grpc_tools.protoc -I sidecar/pb=proto --python_out=. --pyi_out=. $$(find proto -name '*.proto')

envoy-yaml: $(STAMP)  ## envoy/envoy.yaml from the default settings
	$(BIN)/aibridge-sidecar envoy-config --defaults > envoy/envoy.yaml.new && mv envoy/envoy.yaml.new envoy/envoy.yaml

deploy-yaml: $(STAMP)  ## envoy/istio and deploy/kubernetes from their settings and values
	$(BIN)/python -m deploy.render

docs: $(STAMP)  ## docs/ as a site, into site/, after its generated pages; a link that leads nowhere fails
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # --quiet would hide what --strict fails for

cover: $(STAMP)  ## every test, and what they leave out: nothing of the core, a tenth of the rest at most
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=
	$(BIN)/python -m coverage report --include='sidecar/core/*' --fail-under=100
	$(BIN)/python -m coverage report --omit='sidecar/core/*,sidecar/pb/*' --fail-under=90

fuzz: $(STAMP)  ## properties with many more examples, and minutes of fuzzing led by coverage; other ones each time
	$(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile=fuzz -o faulthandler_timeout=0 tests/core tests/hostile/test_fuzz_*.py

bench: $(STAMP)  ## every figure of docs/performance.md, measured again: an hour on a machine that does nothing else
	$(BIN)/python -m bench --write
	$(BIN)/python -m bench.forwarding

bench-peers: $(STAMP)  ## the same load through LiteLLM, MLflow and Portkey, each installed from its registry; ten minutes, at first more
	$(BIN)/python -m bench.peers --write

lock: $(STAMP)  ## requirements.lock from pyproject.toml (needs uv)
	uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements.lock
	uv pip compile -q pyproject.toml --extra console --extra envoy --extra postgres --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements.lock -o deploy/requirements.lock

clean:  ## remove what the targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
