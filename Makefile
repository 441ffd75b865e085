# Everything starts here; `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-mysql test-large test-lake verify-soak derived-soak test-spark test-kafka bench-kafka crashes soak polls check format bench clean
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell $(p) -c 'import sys; print(sys.executable) if (3, 11) <= sys.version_info[:2] <= (3, 13) else None' 2>/dev/null)))
export UV_PYTHON_DOWNLOADS := never
# The system's certificates, where there are any: behind a proxy of one's own they are the ones that count.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS := true
endif
BIN := .venv/bin

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.locked ## make .venv with the locked dependencies and the cdc command

.venv/.locked: pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "setting up .venv with $(PYTHON)"
	@uv=$$("$(PYTHON)" infra/get_uv.py) && "$$uv" sync --locked --quiet --python "$(PYTHON)"
	@touch $@

demo: setup ## servers, mock data, snapshots, a workload, changes in the lake, all checks: about a minute
	@$(BIN)/cdc demo

dev: setup ## the servers and the Dagster UI with its sensors on
	@$(BIN)/cdc up
	@$(BIN)/python -m cdc_platform.defs.dev

test: setup ## the whole test suite
	$(BIN)/pytest

test-mysql: setup ## the tests of MySQL sources on a real MySQL 9.7 (fetched once, 60 MB) instead of MariaDB
	$(BIN)/python -m cdc_platform_tests.real_mysql

test-large: setup ## the scenarios of one large transaction with two million rows
	CDC_TESTS_LARGE_ROWS=2000000 $(BIN)/pytest -n 0 cdc_platform_tests/scenarios -k large_transaction

test-lake: SEEDS ?= 20
test-lake: setup ## random commits to lake tables that are sources, SEEDS=20 sequences of each kind
	CDC_TESTS_LAKE_SEEDS=$(SEEDS) $(BIN)/pytest cdc_platform_tests/lake/test_lake_sequences.py

verify-soak: setup ## N verifications (10000) under a workload, of which none may find anything
	$(BIN)/python -m cdc_platform_tests.verification.soak $(or $(N),10000) $(if $(JOBS),--jobs $(JOBS))

test-spark: setup ## what Spark says of our tables: fetched into .spark (400 MB), needs Java 17
	@"$(PYTHON)" infra/get_spark.py "$$("$(PYTHON)" infra/get_uv.py)" .spark
	CDC_SPARK=$(CURDIR)/.spark $(BIN)/pytest -n 0 cdc_platform_tests/spark

test-kafka: setup ## the tests on a real Kafka with Debezium and a schema registry: fetched into .kafka (220 MB), needs Maven
	@"$(PYTHON)" infra/get_kafka.py "$$("$(PYTHON)" infra/get_uv.py)" .kafka
	CDC_KAFKA=$(CURDIR)/.kafka $(BIN)/pytest -n 0 cdc_platform_tests/kafka

bench-kafka: setup ## events a second from a Kafka topic into a change log
	@"$(PYTHON)" infra/get_kafka.py "$$("$(PYTHON)" infra/get_uv.py)" .kafka
	CDC_KAFKA=$(CURDIR)/.kafka $(BIN)/python -m cdc_platform_tests.kafka.bench

crashes: SEEDS ?= 20
crashes: setup ## a death at each named place on SEEDS=20 seeded workloads of each system (about 3 minutes of CPU a seed)
	CDC_TESTS_CRASH_SEEDS=$(SEEDS) $(BIN)/pytest cdc_platform_tests/crashes/test_places.py

derived-soak: setup ## derived tables on N=100 random workloads, kept by changes and through deaths
	CDC_TESTS_DERIVED_SEEDS=$(or $(N),100) $(BIN)/pytest cdc_platform_tests/derivation/test_random.py

soak: MINUTES ?= 60
soak: setup ## workload, changes of shape and random kills for MINUTES=60, with SEED=1 the same again
	$(BIN)/python -m cdc_platform_tests.crashes.soak $(MINUTES) $(SEED)

polls: SEEDS ?= 10
polls: setup ## random work and deaths on tables that are polled, SEEDS=10 on both systems
	CDC_TESTS_TIMESTAMP_SEEDS=$(SEEDS) CDC_TESTS_TIMESTAMP_ROUNDS=12 $(BIN)/pytest cdc_platform_tests/timestamp/test_random.py

check: setup ## lint, format, types, layers, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dagster definitions validate -w workspace.yaml

format: setup ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## rows a second of snapshot, capture and apply, beside the limits measured in the same run
	$(BIN)/python -m cdc_platform_tests.bench

clean: ## stop the servers and remove their data, the lake and .venv
	@if [ -x $(BIN)/cdc ]; then $(BIN)/cdc down; fi
	rm -rf .venv .uv .spark .kafka .cdc
