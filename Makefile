# Paths are relative and quoted: the project may lie in a folder whose name has spaces.

PY := .venv/bin/python
UV := .tools/uv/bin/uv
UV_VERSION := 0.13.9
export UV_PYTHON_DOWNLOADS := never
# Which Python makes the environment; by default the first of these from 3.11 to 3.13.
PYTHON := python3.12 python3.13 python3.11 python3

.DEFAULT_GOAL := help
.PHONY: help setup demo fix check test real test-real test-faults test-nightly bench docs down lock
.DELETE_ON_ERROR:

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: .venv/installed ## Make the environment in .venv, as requirements-dev.txt says.

demo: setup ## Carry a commit from a push to production; APPROVE=yes also says yes to production.
	$(PY) -m sandbox demo $(if $(APPROVE),--approve)

fix: setup ## Format the code and repair what can be repaired by itself.
	$(PY) -m ruff check --fix --exit-zero --quiet
	$(PY) -m ruff format

check: setup ## Check format, style, types, the direction of imports, and fail points; changes nothing.
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy
	PYTHONPATH=plugins:. .venv/bin/lint-imports
	$(PY) -m pytest --quiet tests/meta/test_fail_points.py

test: setup ## Run the tests.
	$(PY) -m pytest

real: setup ## Build the real servers and tools for tests into the user's cache; needs Go, the first time minutes.
	$(PY) -m sandbox build

test-real: setup ## Run what touches the object store against MinIO, backups against versitygw and PostgreSQL of Debian too.
	$(PY) -m pytest -m real tests/real
	SANDBOX_REAL=object_store=minio $(PY) -m pytest -m real tests/functional
	SANDBOX_REAL=object_store=versitygw $(PY) -m pytest -m real tests/functional/test_backups.py
	SANDBOX_REAL=object_store=minio $(PY) -m pytest tests/faults

test-faults: setup real ## Kill, damage and disturb backups on MinIO at random moments; FAULTS_SEED=n draws again what n drew.
	SANDBOX_REAL=$${SANDBOX_REAL-object_store=minio} $(PY) -m pytest -m faults tests/faults

test-nightly: setup ## Build the image and try it; needs root, the network and the packages buildah and mmdebstrap.
	$(PY) -m pytest -m nightly --capture=no

# Peers come from the distribution; where that has no apt-get, they have to be there.
bench: setup real ## Measure against floors and peers, for an hour; prints figures, WRITE=file keeps them.
	@missing=; for tool in restic rclone; do command -v $$tool > /dev/null || missing="$$missing $$tool"; done; \
	if [ "$$missing" ]; then \
		as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$as_root apt-get update -qq && $$as_root apt-get install -qq -y --no-install-recommends $$missing > /dev/null; \
	fi
	PYTHONPATH=plugins:. $(PY) -m benchmarks $(if $(WRITE),--write $(WRITE))

docs: setup ## Write docs/dags.md from the DAGs, docs/catalogue-backups.md, and the tables of docs/connections.md.
	PYTHONPATH=plugins $(PY) docs/generate.py
	PYTHONPATH=plugins $(PY) docs/catalogue.py
	PYTHONPATH=plugins $(PY) docs/permissions.py

down: ## Stop the sandbox; PURGE=yes leaves what a fresh clone has.
	@if [ -x $(PY) ]; then $(PY) -m sandbox down $(if $(PURGE),--purge); fi
	$(if $(PURGE),rm -rf .demo .venv .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis)
	$(if $(PURGE),find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +)

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	$(if $(UNTIL),--exclude-newer $(UNTIL))

lock: $(UV) ## Write requirements-dev.txt and requirements.txt, with what was published up to UNTIL=YYYY-MM-DD.
	$(COMPILE) requirements-dev.in --output-file requirements-dev.txt
	$(COMPILE) --constraints requirements-dev.txt requirements.in --output-file requirements.txt

# A venv without pip is enough: uv installs from outside. `sync` also removes what the list no longer names.
.venv/installed: requirements-dev.txt $(UV)
	$(UV) venv --quiet --allow-existing --python "$$(cat .tools/python)" .venv
	$(UV) pip sync --quiet --python $(PY) --require-hashes requirements-dev.txt
	@touch $@

# Distributions ship Python with pip, or with venv (which brings pip along), or with both.
$(UV):
	@mkdir -p .tools
	@for python in $(PYTHON); do \
		"$$python" -c 'import sys; print(sys.executable) if (3, 11) <= sys.version_info < (3, 14) else sys.exit(1)' \
			> .tools/python 2> /dev/null && break; \
	done || { rm .tools/python; echo "make setup needs Python 3.11, 3.12 or 3.13; name it with PYTHON=/path/to/python3." >&2; exit 1; }
	@python=$$(cat .tools/python); \
	if ! "$$python" -m pip --version > /dev/null 2>&1; then \
		"$$python" -m venv .tools/pip > /dev/null || \
			{ echo "$$python has neither pip nor venv; install one, or name another with PYTHON=." >&2; exit 1; }; \
		python=.tools/pip/bin/python; \
	fi; \
	PIP_USER=0 "$$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		--only-binary :all: --target .tools/uv "uv==$(UV_VERSION)"
