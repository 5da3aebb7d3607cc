# The commands of this checkout. Each brings what it needs: see scripts/setup.sh.

VENV := .venv
ARGS ?=
QUICK ?=
EVENTS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up test soak reliability bench docs check audit clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv and bring PostgreSQL with PostGIS where it is missing (idempotent)
	@bash scripts/setup.sh

demo: setup ## From nothing to a catalogue of sample rasters, and stop again
	@$(VENV)/bin/geo-assets demo $(ARGS)

up: ## PostgreSQL, Dagster's web UI, its sensors, the API and the map, until Ctrl-C (EVENTS=1: with Azurite and queues of blob events)
	@bash scripts/setup.sh $(if $(EVENTS),--with-azurite,--with-page)
	@exec $(VENV)/bin/$(if $(EVENTS),python -m tests.peers.local_loop,geo-assets up) $(ARGS)

# A file's tests run in one process, which makes what they share once; files with long tests come first.
test: ## All tests, against real PostgreSQL and Azurite (ARGS="-k name" picks some)
	@bash scripts/setup.sh --with-azurite
	@$(VENV)/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: ## The tests that take minutes: runs and Celery workers killed amid thousands of blobs (as root)
	@bash scripts/setup.sh --with-azurite
	@$(VENV)/bin/pytest -m soak $(ARGS)

reliability: ## Every fault of the fault suite, and what came of it in docs/faults.md (as root, most of an hour)
	@bash scripts/setup.sh --with-azurite
	@mkdir -p .geo_assets && rm -f .geo_assets/faults.jsonl
	@GEO_ASSETS_FAULT_RECORDS=$(CURDIR)/.geo_assets/faults.jsonl $(VENV)/bin/pytest -m "" tests/faults $(ARGS)
	@$(VENV)/bin/python -m tests.faults.fault_record .geo_assets/faults.jsonl docs/faults.md

bench: ## Measure against the tools one would use instead (QUICK=1: small, under 5 minutes)
	@bash scripts/setup.sh --with-bench
	@$(VENV)/bin/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

docs: ## The documentation as a site in .geo_assets/site, its reference made from the code; fails on a broken link
	@bash scripts/setup.sh --with-docs
	@$(VENV)/bin/python -m scripts.reference_pages
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "Open .geo_assets/site/index.html; with search: $(VENV)/bin/mkdocs serve"

check: setup ## Lint, format, words, types and layers; known vulnerabilities are a warning
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/python -m scripts.plain_english
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/python scripts/audit.py --warn

audit: ## Known vulnerabilities of the packages; status 1 where one is known that a newer version mends
	@bash scripts/setup.sh --with-page
	@$(VENV)/bin/python scripts/audit.py $(ARGS)

clean: ## Stop the embedded PostgreSQL and remove all it kept; .venv stays
	@if [ -x $(VENV)/bin/geo-assets ]; then $(VENV)/bin/geo-assets db destroy; fi
	@rm -rf .geo_assets
