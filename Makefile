# `make help` says what there is. Paths are relative, so a folder with spaces in its name is fine.
PYTHON ?= python3
PORT   ?= 8000
SERVE  ?= 1
BIN    := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY     := $(BIN)/python
ENV    := .venv/.installed
NPM    := site/node_modules/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export BROWSER CHROMIUM LOCK
.DEFAULT_GOAL := help
.PHONY: help book site serve test quick check notebooks pytest lab bench seeds zoo config readme lock clean
.PHONY: python-there browser-there

help: ## this list
	@echo 'nca_tutorial: the targets of make'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1	\2/p' Makefile | while IFS='	' read -r t d; do printf '  make %-10s %s\n' "$$t" "$$d"; done
	@echo 'Variables: PYTHON=python3.12 (which Python), PORT=8001 (where to serve), SERVE=0 (build only), LOCK=0 (newest versions),'
	@echo '           CHROMIUM=/usr/bin/brave (which browser the tests use), BROWSER=0 (no browser: its tests are left out)'

python-there:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo 'nca_tutorial: $(PYTHON) is missing: install Python 3.11 or newer, or name yours with PYTHON=...' >&2; exit 1; }

browser-there: $(ENV) $(NPM)
	@"$(PYTHON)" tools/environment.py --browser

$(ENV): pyproject.toml tools/constraints.txt tools/environment.py | python-there
	@"$(PYTHON)" tools/environment.py
	@touch $@

$(NPM): site/package.json site/package-lock.json | $(ENV)
	@"$(PYTHON)" tools/environment.py --npm
	@touch $@

book: python-there ## set up, build the site into _site/ and serve it at 127.0.0.1:8000
	@"$(PYTHON)" tools/environment.py --ask
	@"$(MAKE)" --no-print-directory site
	@if [ "$(SERVE)" != 0 ]; then $(PY) tools/serve.py $(PORT); fi

site: $(ENV) $(NPM) ## set up and build the site into _site/ (any warning fails)
	@$(PY) site/build.py

serve: ## serve the site that is there
	@$(PY) tools/serve.py $(PORT)

test: python-there ## set up, then everything that CI checks
	@"$(PYTHON)" tools/environment.py --ask browser
	@"$(MAKE)" --no-print-directory check notebooks pytest
	@if [ "$(BROWSER)" = 0 ]; then echo 'All is well, as far as it was tried: BROWSER=0 left the browser tests out.'; else echo 'All is well.'; fi

quick: $(ENV) ## generated files and unit tests: no notebooks, no site, no browser; what one runs while working
	@$(PY) tools/checks.py
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --dist worksteal -m 'not site and not browser' tests

check: $(ENV) ## generated files agree with their sources, notebooks are clean and exported
	@$(PY) tools/checks.py

notebooks: $(ENV) ## run every notebook from top to bottom
	@$(PY) tools/notebooks.py

pytest: browser-there site ## run tests/, the pages in a browser included
	@$(PY) -m pytest -q --durations=5 tests

lab: $(ENV) ## open the notebooks in JupyterLab
	@$(BIN)/jupyter-lab nbs

bench: $(ENV) ## measure engines, live pages, the drawing board and twelve pictures: tables, and JSON files in benchmarks
	@$(PY) benchmarks/bench.py
	@$(PY) benchmarks/web.py
	@$(PY) benchmarks/drawing.py --look
	@$(PY) benchmarks/pictures.py --look

seeds: $(ENV) ## train from many seeds and count the collapses: benchmarks/seeds.json (hours)
	@$(PY) benchmarks/seeds.py

zoo: $(ENV) ## train the packaged creatures again by their recipes (hours; can be stopped and goes on)
	@$(PY) tools/zoo.py

config: ## write pyproject.toml and the versions from settings.ini
	@"$(PYTHON)" tools/sync_config.py

readme: $(ENV) ## write README.md from nbs/index.ipynb
	@$(PY) tools/readme.py

lock: ## resolve all packages afresh and write tools/constraints.txt
	@"$(PYTHON)" tools/environment.py --lock

clean: ## remove what was built (the environment stays; `rm -r .venv` removes it)
	@rm -rf _site _site_src jupyter_execute _proc _docs build dist .pytest_cache .hypothesis
