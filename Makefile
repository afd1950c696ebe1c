# make reproduce   every table, figure and page of study.yaml from the trained models: results/ and reports/
# make train       the models that are not trained yet, a job a core; stops at any moment and goes on
# make retrain     all models from nothing
# make status      every model, trained or not, and the hours that are left
# make test        lint and tests
# make lab         JupyterLab on the notebooks
# make explore     the trained methods to play with, as a page with sliders (Voila)
# A Python that has torch and torchvision already lends them to .venv, so they are not downloaded again; any CPU or GPU build does.

# One thread a job and a job a core: two single-threaded trainings side by side do more than one on two threads.
export OMP_NUM_THREADS ?= 1

PYTHON ?= python3
VENV ?= .venv
CORES ?= 2
RUN = $(VENV)/bin/python
# where a borrowed Python keeps the templates and extensions of its Jupyter
export JUPYTER_PATH := $(shell $(PYTHON) -c 'import sys; print(sys.base_prefix + "/share/jupyter")')

.PHONY: reproduce train retrain status test lab explore clean

# A paper that fails does not stop the others; the summaries then say what is there, and the exit code that something is missing.
reproduce: $(VENV)/ready
	$(RUN) -m snakemake -c$(CORES) --keep-going --rerun-incomplete --nolock --quiet rules || \
	  { $(RUN) -m lib.run comparison; $(RUN) -m lib.run claims; echo "Some runs failed: see results/.done/*.log and reports/index.html"; exit 1; }
	@echo "Open reports/index.html"

train: $(VENV)/ready
	$(RUN) -m lib.train --status
	$(RUN) -m snakemake -c$(CORES) --keep-going --rerun-incomplete --nolock --quiet rules --config train=true -- models
	$(RUN) -m lib.train --status

retrain: $(VENV)/ready
	$(RUN) -m lib.train --forget
	$(MAKE) train

status: $(VENV)/ready
	@$(RUN) -m lib.train --list

test: $(VENV)/ready
	$(RUN) -m ruff check lib tests benchmarks notebooks
	$(RUN) -m nbstripout --verify --keep-id notebooks/*.ipynb
	$(RUN) -m pytest -n $(CORES)

lab: $(VENV)/ready
	$(RUN) -m jupyterlab notebooks

explore: $(VENV)/ready
	@$(RUN) -c 'import voila' 2>/dev/null || $(RUN) -m pip install --quiet --disable-pip-version-check -e '.[explore]'
	JUPYTER_PATH=lib/explorer/jupyter:$(JUPYTER_PATH) $(RUN) -m voila --template=study notebooks/95_explorer.ipynb

clean:
	rm -rf $(VENV) .cache

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $$($(PYTHON) -c 'import torch, torchvision' 2>/dev/null && echo --system-site-packages) $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@
