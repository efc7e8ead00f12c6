# Two commands set up everything they need in a virtual environment:
#   make demo   the whole way in the small world, about a quarter of an hour
#   make test   the suite
# PYTHON   interpreter that makes the environment
# TORCH    pip arguments for PyTorch, used to check exported weights; on plain
#          Linux this is the CUDA build unless an index of CPU builds is given,
#          and TORCH= leaves it out (the checks then say that they were not run)

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
PIP = $(VENV)/bin/pip install --quiet --disable-pip-version-check
RUN = JAX_PLATFORMS=cpu $(VENV)/bin/python

.PHONY: demo demo-long test bench lint clean

demo: $(VENV)/.demo
	$(RUN) tools/demo.py --out runs/demo

demo-long: $(VENV)/.demo
	$(RUN) tools/demo.py --out runs/demo-long --size long

test: $(VENV)/.test
	$(RUN) -m pytest

bench: $(VENV)/.test
	$(RUN) -m pytest -m bench -rA

lint: $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) runs .pytest_cache

$(VENV)/.demo: setup.py
	@start=$$(date +%s); set -e; \
	$(PYTHON) -m venv $(VENV); \
	$(PIP) -e '.[hf,plots]'; \
	$(if $(TORCH),$(PIP) $(TORCH);) \
	echo "installed in $$(( $$(date +%s) - start )) s"
	@touch $@

$(VENV)/.test: setup.py | $(VENV)/.demo
	$(PIP) -e '.[test]'
	@touch $@
