# `make` lists what there is. Everything is installed into a virtual environment: the active one, or .venv.
# Needs Python >= 3.10 and a C++ compiler; a second call only does what has changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= $(or $(VIRTUAL_ENV),.venv)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TORCH := torch==2.13.0

# Several tests at once. OpenMP's idle threads sleep, where they would otherwise spin against the other tests'.
JOBS ?= 2
TEST := OMP_WAIT_POLICY=passive $(PY) -m pytest -n $(JOBS) --dist worksteal

NATIVE := setup.py pyproject.toml $(wildcard cuda/*)
PYTHON_CODE := setup.py diffrast tests recipes benchmarks docs
CXX_CODE := $(wildcard cuda/*.cu cuda/*.h cuda/*.cpp tests/helpers/*.cpp)
AS_ROOT := [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null
APT := DEBIAN_FRONTEND=noninteractive apt-get -q -y -o=Dpkg::Use-Pty=0
define WHEEL_CHECK
import torch, diffrast.torch as dr
from diffrast.backends.sources import source_folder
pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
rast, _ = dr.rasterize(dr.RasterizeContext(), pos, torch.tensor([[0, 1, 2]]), (8, 8))
assert bool((rast[..., 3] == 1).all()) and (source_folder("cuda") / "common.h").is_file()
print("works in", dr.__file__)
endef
export WHEEL_CHECK

EGL := libegl1 libegl-mesa0 libgl1-mesa-dri libgles2
SCREEN := chromium chromium-driver xvfb

.PHONY: help setup demo test test-all lint format docs wheel bench bench-gradients bench-reconstruct gpu-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .make/ready ## install diffrast in editable form with everything that demo and test need

demo: .make/ready ## reconstruct a textured mesh from the photographs in assets/demo
	$(PY) -m diffrast reconstruct assets/demo --out out/demo --overwrite
	@echo "Open out/demo/report.html in a browser, and out/demo/mesh.glb in any 3-D viewer."

test: .make/ready ## run the tests (REQUIRE_DATA=1, REQUIRE_GL=1, REQUIRE_BROWSER=1: without data, OpenGL, a browser they fail)
	$(TEST) -m "not slow"

test-all: .make/ready ## run the tests, the slow ones too
	$(TEST)

lint: .make/dev ## check style, types and formatting, and that the code is no larger than its budget
	$(VENV)/bin/ruff check $(PYTHON_CODE)
	$(VENV)/bin/ruff format --check $(PYTHON_CODE)
	$(VENV)/bin/clang-format --dry-run -Werror $(CXX_CODE)
	$(VENV)/bin/pyright --pythonpath $(PY)
	$(VENV)/bin/pyright --pythonpath $(PY) -p tests/strict.json
	$(PY) tests/budget.py

format: .make/dev ## format the code
	$(VENV)/bin/ruff check --fix $(PYTHON_CODE)
	$(VENV)/bin/ruff format $(PYTHON_CODE)
	$(VENV)/bin/clang-format -i $(CXX_CODE)

docs: .make/docs ## build the documentation site, docs/_build/html/index.html (no network needed to read it)
	$(PY) -m sphinx -q -W --keep-going -E -b html -d docs/_build/doctrees docs docs/_build/html
	@echo docs/_build/html/index.html

wheel: .make/ready ## build dist/*.whl, install it elsewhere and draw with it
	rm -rf build dist
	$(PIP) wheel -q --no-deps --wheel-dir dist .
	@# On Linux the name says how old a system may be. Nothing is patched in: OpenMP comes with torch.
	@if [ "$$(uname)" = Linux ] && [ -x $(VENV)/bin/auditwheel ]; then \
	  $(VENV)/bin/auditwheel repair --plat auto --patcher none --wheel-dir dist dist/*.whl; rm dist/*-linux_*.whl; fi
	@trial=$$(mktemp -d); trap 'rm -rf "$$trial"' EXIT; \
	$(PIP) install -q --no-deps --target "$$trial" dist/*.whl; \
	cd "$$trial"; PYTHONPATH="$$trial" "$(abspath $(PY))" -W error -c "$$WHEEL_CHECK"
	@ls dist/*.whl

bench: .make/ready ## measure primitives, OpenGL, shading and the viewer on this machine, print tables and write JSON
	$(PY) benchmarks/primitives.py
	-$(PY) benchmarks/opengl.py
	$(PY) benchmarks/shading.py
	-$(PY) benchmarks/viewer.py

bench-gradients: .make/ready ## gradients against a supersampled truth, into benchmarks/results/
	$(PY) benchmarks/gradients.py

bench-reconstruct: .make/ready ## reconstruct the test data within the time allowed: figures, and what each ingredient gains
	$(PY) benchmarks/reconstruct_speed.py
	$(PY) benchmarks/reconstruct.py --ingredients

gpu-check: .make/ready ## on a machine with a CUDA device: tests, compute-sanitizer and benchmarks on it (OUT=folder for logs)
	$(PY) benchmarks/gpu_check.py

clean: ## remove what was built here (not .venv)
	rm -rf build dist out .make docs/_build docs/generated *.egg-info diffrast/_native .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# --- What the targets stand on -----------------------------------------------------------------------------------------

.make/ready: $(NATIVE) $(VENV)/pyvenv.cfg
	@mkdir -p .make
	@if ! command -v $${CXX:-c++} >/dev/null && $(AS_ROOT); then $(APT) update && $(APT) install g++; fi
	@# OpenGL without a screen, for the OpenGL backend's tests; a system that cannot install it still works on the CPU.
	@if ! ldconfig -p 2>/dev/null | grep -q libEGL.so.1 && $(AS_ROOT); then \
	  { $(APT) update && $(APT) install --no-install-recommends $(EGL); } >.make/apt.log 2>&1 \
	  || echo "note: EGL could not be installed (.make/apt.log says why); going on without it"; fi
	@# A browser and a screen in memory, for the viewer's tests, which are skipped without.
	@if ! { command -v chromium && command -v chromedriver && command -v Xvfb; } >/dev/null && $(AS_ROOT); then \
	  { $(APT) update && $(APT) install --no-install-recommends $(SCREEN); } >>.make/apt.log 2>&1 \
	  || echo "note: $(SCREEN) could not be installed (.make/apt.log says why); going on without"; fi
	@$(PY) -c "import torch" 2>/dev/null || $(PIP) install $(TORCH)
	$(PIP) install -q -e '.[test]'
	@touch $@

.make/dev: .make/ready
	$(PIP) install -q -e '.[test,dev]'
	@touch $@

.make/docs: .make/ready
	$(PIP) install -q -e '.[test,docs]'
	@touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "diffrast needs Python >= 3.10; name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>.venv.log \
	|| { $(AS_ROOT) && $(APT) update >/dev/null && $(APT) install python3-venv >/dev/null && $(PYTHON) -m venv --clear $(VENV); } \
	|| { cat .venv.log; rm -rf $(VENV) .venv.log; echo "no virtual environment could be made; install venv (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@rm -f .venv.log
