# Ebbtide: `make` alone prints this help.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
CODE := app.py chalicelib agent ebbtide_console tools tests bench
# The tests start Python some thousand times: what it has compiled is kept, whoever asks for a tidier tree.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help night clean-night setup check test databases machine long aging faults mutations bench style package agent deb clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

night: setup ## one whole night on this machine, drill included (TREE=/some/path backs up that tree instead)
	@./ebbtide sandbox night $(if $(TREE),--tree "$(TREE)")

clean-night: ## remove every trace of the nights
	@if [ -x $(BIN)/python ]; then ./ebbtide sandbox clean; else rm -rf .ebbtide; fi

test: setup ## every test that this machine can run; says which it skipped and why
	@# pytest compiles each test file when it is first read: once, before five workers would do it at the same time.
	-@$(BIN)/pytest --collect-only -qq >/dev/null
	@$(BIN)/pytest -q -n 5 --dist loadscope --no-loadscope-reorder

databases: $(READY) ## the dump scripts in agent/examples against the databases of Debian, in a tree that is made once
	@$(BIN)/python -m tests.debian
	@$(BIN)/pytest -q tests/local/test_examples.py tests/local/test_examples_databases.py

machine: $(READY) ## a Debian with a kernel of its own (qemu; minutes): the share of memory, and the card to its end
	@$(BIN)/pytest -q tests/machine

long: $(READY) ## a hundred thousand simulated nights, going on where the last ones stopped, whatever a host may say, fifty trees of edits pushed, whatever befalls a backup in fifty places, the page for three in the morning, a region that is out, and what make test leaves out, then make aging (NIGHTS=1000, MINUTES=10, FIRST=0)
	@$(BIN)/python -m tests.sim.long --nights $(or $(NIGHTS),100000) --minutes $(or $(MINUTES),inf) \
		$(if $(FIRST),--first-seed $(FIRST))
	@EBBTIDE_FUZZ=20000 $(BIN)/pytest -q tests/attack/test_any_bytes.py
	@EBBTIDE_EXAMPLES=50 EBBTIDE_LONG=1 $(BIN)/pytest -q tests/local/test_index_push.py tests/local/test_drill_corpus.py \
		tests/local/test_to_directory.py
	@EBBTIDE_LONG=1 $(BIN)/pytest -q tests/attack/test_shells.py tests/sim/test_every_call.py tests/sim/test_own_hosts.py \
		tests/local/test_whole_nights.py tests/local/test_second_region.py \
		tests/local/test_broken_links.py tests/local/test_away_meanwhile.py tests/local/test_materialise.py \
		tests/local/test_guarded_nights.py tests/local/test_opened.py tests/local/test_peer.py \
		tests/local/test_push.py tests/local/test_quotas.py tests/local/test_lost_power.py tests/local/test_standing_receiver.py
	@$(MAKE) --no-print-directory aging

aging: $(READY) ## ninety nights onto a volume that is 80 % full, ext4 and btrfs, into bench/aging.json (TREE=/usr/share); root only
	@PYTHONPATH=agent $(BIN)/python -m bench.blocks --nights 90 --filled 80 --json bench/aging.json $(or $(TREE),/usr/share)

faults: setup ## play every test of a fault, and write what came of it into docs/faults.md
	@EBBTIDE_LONG=1 $(BIN)/python -m tools.fault_reference --play

mutations: $(READY) ## each guard taken out by itself, to see a test go red; writes docs/mutations.md
	@EBBTIDE_LONG=1 $(BIN)/python -m tools.mutations --write

bench: $(READY) ## how it stands ten thousand hosts and a hundred thousand snapshots; see bench/README.md
	@$(BIN)/python -m bench.storm
	@$(BIN)/python -m bench.retention
	@$(BIN)/python -m bench.tell

check: style ## format, lint, strict types, import directions, docs
	@$(BIN)/pytest -q tests/unit/test_imports.py tests/unit/test_*_reference.py

style: $(READY) ## the first three of these, which no test looks at
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy

package: $(READY) ## the bundle and the template that would be deployed, accepted by cfn-lint
	@$(BIN)/python -m tools.package build/package
	@$(BIN)/cfn-lint build/package/sam.json

agent: $(READY) ## the one file that goes onto hosts: dist/ebbtide-agent
	@$(BIN)/python -m tools.build_agent hosts dist/ebbtide-agent

deb: $(READY) ## the same as a Debian package: dist/ebbtide-agent_VERSION_all.deb
	@$(BIN)/python -m tools.build_deb dist

setup: $(READY)
	@./ebbtide sandbox setup

$(READY): requirements.txt requirements-dev.txt
	@./tools/venv.sh $(PYTHON) $(VENV)
	@touch $@

clean: clean-night ## remove the virtual environment and everything built, too
	@rm -rf $(VENV) build dist
