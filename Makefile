SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

TOOLS := $(CURDIR)/.tools
GOLANGCI_VERSION := v2.7.2
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IOREDIS := proxy/testdata/ioredis
# The applications of ./apps: what the distribution has of them, and what npm has.
APPS := python3-redis python3-celery python3-rq python3-django python3-django-redis ruby-sidekiq ruby-redis-namespace \
  php-cli php-redis php-predis php-illuminate-redis php-illuminate-queue php-illuminate-cache prometheus-redis-exporter \
  redis-redisearch iredis
APPS_NODE := apps/testdata/node
CONSUL := $(TOOLS)/consul-1.9.17
FUZZTIME ?= 20s
CHAOSTIME ?= 9m
# Other processors that have to be able to build it; int has 32 bits on two of them.
ARCHES := 386 arm arm64
# What reads lengths and sizes; its tests run with an int of 32 bits too.
NARROW := ./backend/... ./conf ./internal/control ./proxy/acl ./proxy/command/... ./proxy/resp ./router/...
BENCHFLAGS ?=
# Packages that are tested at the same time. Tests wait more than they compute: two for each processor.
TESTS_TOGETHER ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
# The packages that take longest begin first, so that nothing is left to wait for them alone at the end.
LONGEST := ./proxy ./cmd/sluice ./apps

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/sluice
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sluice ./cmd/sluice

.PHONY: run
run: build ## Build and start a local playground: servers and Sluice in front of them
	@$(MAKE) --no-print-directory redis || echo 'no redis-server to be had, using the embedded store'
	bin/sluice dev

.PHONY: dev-consul
dev-consul: build redis consul ## Build and start a playground with Consul: two groups of real servers, two sidecars
	bin/sluice dev --consul

# The vet in front has seen everything. Without debug symbols (-w) linking the fifty test binaries takes a third less;
# stack traces and the race detector need none.
.PHONY: test
test: redis consul ioredis apps ## Install what the tests need and run all of them: unit, race, integration with real servers
	go vet ./...
	go test -race -vet=off -ldflags=-w -shuffle=on -timeout 30m -p $(TESTS_TOGETHER) $(LONGEST) ./...
	$(if $(filter linux/amd64,$(shell go env GOHOSTOS)/$(shell go env GOHOSTARCH)),@$(MAKE) --no-print-directory narrow)

# As 386, or, where the kernel does not run that, as arm in an emulator: programs of Go for 386 crash in QEMU 7.2.
.PHONY: narrow
narrow: ## Test what reads lengths and sizes with an int of 32 bits
	@if GOARCH=386 CGO_ENABLED=0 go test -vet=off -run '^$$' ./router >/dev/null 2>&1; then \
	  set -x; GOARCH=386 CGO_ENABLED=0 go test -vet=off -shuffle=on $(NARROW); \
	else \
	  command -v qemu-arm >/dev/null || $(call install,qemu-user); \
	  set -x; GOARCH=arm CGO_ENABLED=0 go test -exec qemu-arm -vet=off -shuffle=on $(NARROW); \
	fi

.PHONY: soak
soak: redis ## Run the long forms of the tests that move slots under load; takes about ten minutes
	TESTBED_SOAK=1 go test -count=1 -v -timeout 60m -run 'UnderLoad|Soak' ./cmd/... ./proxy/...

.PHONY: chaos
chaos: redis ## Let everything go wrong at once for CHAOSTIME (9m), then for a minute with every reply checked; SEED repeats a plan
	CHAOS=$(CHAOSTIME) go test -count=1 -v -timeout 2h -run 'TestChaos$$' ./proxy
	CHAOS=1m go test -count=1 -v -race -tags echoeach -timeout 1h -run 'TestChaos$$' ./proxy

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME
	@for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

.PHONY: bench
bench: build redis ## Compare CPU per request with the proxies found; writes bench/RESULTS.md
	@command -v nutcracker >/dev/null && command -v haproxy >/dev/null || $(call install,nutcracker haproxy) || true
	go run ./bench/cmd/sluicebench compare -sluice bin/sluice -out bench/RESULTS.md $(BENCHFLAGS)

.PHONY: lint
lint: $(GOLANGCI) ## Check formatting, lint, module files, and that other processors can build it
	@test -z "$$(gofmt -l .)" || { echo 'gofmt would change:'; gofmt -l .; exit 1; }
	go mod tidy -diff
	$(GOLANGCI) run ./...
	for arch in $(ARCHES); do GOOS=linux GOARCH=$$arch CGO_ENABLED=0 go vet ./...; done

$(GOLANGCI):
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

.PHONY: generate
generate: ## Make the generated files again
	go generate ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

# install PACKAGES with the package manager there is, as root or with sudo.
define install
{ sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
  if command -v apt-get >/dev/null; then \
    $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(1); \
  elif command -v brew >/dev/null; then brew install $(1); \
  else echo 'neither apt-get nor brew here: install $(1) by hand' >&2; false; fi; }
endef

.PHONY: redis
redis:
	@command -v redis-server >/dev/null || $(call install,$(if $(shell command -v brew),redis,redis-server))

.PHONY: node
node:
	@command -v node >/dev/null && command -v npm >/dev/null || $(call install,$(if $(shell command -v brew),node,nodejs npm))

.PHONY: ioredis
ioredis: node $(IOREDIS)/node_modules/.package-lock.json

.PHONY: apps
apps: node $(APPS_NODE)/node_modules/.package-lock.json
	@dpkg -s $(APPS) >/dev/null 2>&1 || $(call install,$(APPS))

# npm removes what is there before it installs, and writes this file last.
%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	cd $* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: consul
consul: ## Build the Consul that tests run against, unless SLUICE_CONSUL or PATH has one; a minute or two, once
	@test -n "$${SLUICE_CONSUL:-}" || command -v consul >/dev/null || $(MAKE) --no-print-directory $(CONSUL)

# A module of its own: what it needs is none of ours. The linker flag is for its x/net, which is older than the rule.
$(CONSUL):
	@echo 'building Consul for the tests; its modules are about 100 MB'
	cd tools/consul && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags '-checklinkname=0 -s -w' \
	  -o $@.new github.com/hashicorp/consul
	mv $@.new $@
