# Run `make` for the list of targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
SOURCES := buildfarm workers webapp tests bench conftest.py

.PHONY: help install demo test tests test-all check images bench chaos fuzz real-files world up fix lock

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: ## Install what the product needs; leaves .venv/bin/buildfarm
	@.ci/prepare install

demo: ## The tour: git push -> wheel -> pip install, on real input (DEMO_EXIT=1 ends it afterwards)
	@.ci/prepare demo
	@.ci/with-engine $(PYTHON) -m tests.tour.demo

test: ## Everything that must be green on every change (under 20 minutes on 2 cores)
	@.ci/prepare test
	@$(MAKE) --no-print-directory --jobs 2 check images
	@.ci/with-engine $(MAKE) --no-print-directory tests BUT=exhaustive

test-all: ## The exhaustive set (under 80 minutes); a skip fails
	@.ci/prepare test-all
	@$(MAKE) --no-print-directory --jobs 2 check images
	@.ci/with-engine $(MAKE) --no-print-directory tests FLAGS=--fail-on-skip

# Rooms side by side, then containers side by side; at last, alone on the machine, what kills processes.
tests:
	$(PYTEST) -q $(FLAGS) -n 2 --dist loadfile -m "not engine$(if $(BUT), and not $(BUT))"
	$(PYTEST) -q $(FLAGS) -n 2 --dist loadfile -m "engine$(if $(BUT), and not $(BUT))" tests/sandbox
	$(PYTEST) -q $(FLAGS) -m "engine$(if $(BUT), and not $(BUT))" tests/chaos

check: ## Lint, types, architecture
	@$(PYTHON) -m ruff check $(SOURCES)
	@$(PYTHON) -m ruff format --check $(SOURCES)
	@$(PYTHON) -m mypy
	@PYTHONPATH=. .venv/bin/lint-imports --no-cache --config pyproject.toml

images: # the builder images (WITH=cp314,cp314t adds CPythons, ARCH=i386,arm64 architectures); much of it is waiting
	@.ci/with-engine $(if $(WITH)$(ARCH),docker/build-images.sh $(if $(WITH),--with $(WITH)) $(if $(ARCH),--arch $(ARCH)),true)

chaos: ## The failure table of the queue, with real kills
	@.ci/prepare test
	@.ci/with-engine $(PYTEST) tests/chaos

bench: ## Benchmarks against peers in one run (AREA=farm or index)
	@.ci/prepare bench
	@$(if $(filter index,$(AREA)),,.ci/with-engine) $(PYTHON) -m bench.run $(or $(AREA),farm)

fuzz: ## Make inputs that reach new lines of the validator (SECONDS_EACH=60 for each target)
	@.ci/prepare fuzz
	@PYTHONPATH=. $(PYTHON) -m tests.wheels.fuzz

real-files: ## Hold the validator against the 200 projects that are downloaded most (needs the index)
	@.ci/prepare test
	@PYTHONPATH=. $(PYTHON) -m tests.wheels.real_files

world: ## Build real projects from their real sources, and write docs/projects.md (NAMES="idna lxml", or all)
	@.ci/prepare test
	@.ci/with-engine $(PYTHON) -m tests.tour.world $(NAMES)

up: ## A farm of your own on http://127.0.0.1:8080, kept in ./buildfarm-data
	@.ci/prepare install
	@.ci/with-engine .venv/bin/buildfarm up

fix: ## Let ruff mend what it can
	@$(PYTHON) -m ruff check --fix $(SOURCES)
	@$(PYTHON) -m ruff format $(SOURCES)

lock: ## Resolve the requirement files anew
	$(PYTHON) -m uv pip compile -q pyproject.toml --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements/base.txt
	$(PYTHON) -m uv pip compile -q requirements/dev.in --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements/dev.txt
	$(PYTHON) -m uv pip compile -q requirements/fuzz.in --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements/fuzz.txt
	$(PYTHON) -m uv pip compile -q requirements/publishers.in --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements/publishers.txt
	for peer in devpi-server pypiserver proxpi; do $(PYTHON) -m uv pip compile -q requirements/bench-$$peer.in --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements/bench-$$peer.txt || exit; done
