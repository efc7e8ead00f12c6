# Two commands set up everything they need in a virtual environment:
#   make demo   the whole way in the small world, about a quarter of an hour
#   make test   the suite
# make paper tries the claims of the paper in the small world: hours, and goes on
# where it was interrupted; with QUICK=1 minutes (see tools/paper.py --help).
# and make bench measures (tables here, figures in runs/bench; benchmarks/ says
# what of), an hour and a half on two cores that have nothing else to do.
# PYTHON   interpreter that makes the environment
# TORCH    pip arguments for a CPU build of PyTorch, with which exported weights
#          are checked; where pip finds none, or with TORCH=, these checks say
#          that they were not run. (A bare "torch" brings CUDA on Linux.)

# KILLS    how many faults make bench deals out; half a minute each

PYTHON ?= python3
KILLS ?= 10
TORCH ?= torch==2.13.0+cpu
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
PIP = $(VENV)/bin/pip install --quiet --disable-pip-version-check
TORCH_INSTALL = $(if $(TORCH),$(PIP) $(TORCH) || \
	echo "no CPU build of PyTorch found: exports will not be checked with it",:)
RUN = JAX_PLATFORMS=cpu $(VENV)/bin/python

.PHONY: demo demo-long paper test bench lint clean

demo: $(VENV)/.demo
	$(RUN) tools/demo.py --out runs/demo

demo-long: $(VENV)/.demo
	$(RUN) tools/demo.py --out runs/demo-long --size long

paper: $(VENV)/.demo
	$(RUN) tools/paper.py $(if $(QUICK),--quick)

# Files in their own order: by the number of tests, the demo would come last and
# one process would wait for it.
test: $(VENV)/.test
	$(RUN) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

bench: $(VENV)/.test
	@mkdir -p runs/bench
	set -e; for name in prepare loader reader step exchange generate; do \
	  $(RUN) -m benchmarks.$$name > runs/bench/$$name.json; \
	done
	$(RUN) tools/bench_data.py > runs/bench/data.json && cat runs/bench/data.json
	$(RUN) tools/bench_faults.py --kills=$(KILLS)

lint: $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) runs .pytest_cache

$(VENV)/.demo: setup.py
	@start=$$(date +%s); set -e; \
	$(PYTHON) -m venv $(VENV); \
	$(PIP) -e '.[audio,hf,plots]'; \
	$(TORCH_INSTALL); \
	echo "installed in $$(( $$(date +%s) - start )) s"
	@touch $@

$(VENV)/.test: setup.py | $(VENV)/.demo
	$(PIP) -e '.[test]'
	@if $(RUN) -c "import torch" 2> /dev/null; then $(PIP) -e '.[peft]'; else \
	  echo "no PyTorch: exported adapters will not be checked with PEFT"; fi
	@touch $@
