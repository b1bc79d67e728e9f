# Every target is one script in scripts/; each of their steps is skipped when already done.
.DEFAULT_GOAL := help
.PHONY: help up service test lint bench image lock assets clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## set up whatever is missing, then serve in the foreground
	@exec scripts/up

service: ## the same as a service of systemd, as a user of its own (as root)
	@exec scripts/service

test: ## run the linters and the whole suite (PYTEST_ARGS="-k link" for a part)
	@exec scripts/test $(PYTEST_ARGS)

lint: ## ruff, mypy, import-linter, shellcheck
	@scripts/venv dev
	@exec scripts/lint

bench: ## compare with sshd, with sshd + docker exec and with ttyd, in ratios (as root, minutes)
	@scripts/venv dev
	@scripts/test-tools
	@scripts/docker-engine
	@scripts/image
	@exec .venv/bin/python -m bench

image: ## build the environments' image if its files changed (FRESH=1: from today's packages)
	@scripts/docker-engine
	@exec scripts/image $(if $(FRESH),--fresh)

lock: ## pin requirements/*.txt again (LOCK_ARGS=--upgrade: to newer versions)
	@exec scripts/lock $(LOCK_ARGS)

assets: ## take xterm.js from the packages that requirements/assets/package.json says (needs npm)
	@exec scripts/assets --update

clean: ## remove what was built here; accounts, keys and homes stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis artefacts build dist
	find rootblood tests -name __pycache__ -type d -prune -exec rm -rf {} +
