# Everything is set up by the commands themselves: `make demo` and `make test` on a fresh Debian or Ubuntu machine.

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
# any torch that satisfies pyproject.toml will do; this one is what the tests were run with
TORCH ?= torch==2.13.0
BPY ?= bpy==4.5.15
VIDEO ?= tests/sample/sample.mp4
OUT ?= build/demo

VENV := .venv
BIN := $(VENV)/bin
# what Blender's module and its renderer load from the system
SYSTEM_PACKAGES := libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libegl1 libgomp1

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup addon ## a video becomes an animated armature: build/demo/sample.blend and sample.png
	name=$$(basename "$(VIDEO)"); name="$(OUT)/$${name%.*}"; \
	$(BIN)/python benchmarks/demo.py "$(VIDEO)" "$$name.blend" "$$name.png"

.PHONY: test
test: setup ## style, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest

.PHONY: setup
setup: system $(VENV)/ready weights ## system packages, the environment in .venv, and the weights

.PHONY: addon
addon: $(VENV)/ready ## the add-on's zip for this machine, in build/
	$(BIN)/python build_addon.py --platform current

.PHONY: addons
addons: $(VENV)/ready ## the add-on's zips for all platforms
	$(BIN)/python build_addon.py --platform all

.PHONY: benchmarks
benchmarks: setup ## the tables that this README quotes
	$(BIN)/python benchmarks/sample.py
	$(BIN)/python benchmarks/real_video.py
	$(BIN)/python benchmarks/ik_accuracy.py
	$(BIN)/python benchmarks/ik_speed.py
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/regression.py
	$(BIN)/python benchmarks/opensim_angles.py
	$(BIN)/python benchmarks/memory.py --minutes 20 --fps 3 --image docs/images/memory.png

.PHONY: weights
weights: $(VENV)/ready
	$(BIN)/video2rig fetch blazepose

.PHONY: clean
clean: ## remove what was built; the environment stays
	rm -rf build

$(VENV)/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	{ echo "Blender's module needs Python 3.11, and $(PYTHON) is another; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[bpy,dev]" "$(BPY)"
	touch $@

.PHONY: system
system:
	@missing="$$(for package in $(SYSTEM_PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done)"; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing $(notdir $(PYTHON))-venv"; \
	test -z "$$missing" || { set -x; $(SUDO) apt-get update -q && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; }

SUDO := $(shell test "$$(id -u)" = 0 || command -v sudo)
