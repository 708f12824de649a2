# talkd: `make help` lists the targets.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

TAGS     := hashicorpmetrics
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO       := go
GOBUILD  := CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags '-s -w -X main.version=$(VERSION)'
GOTEST   := $(GO) test -tags $(TAGS)
TOOLS    := $(CURDIR)/.tools

# Tools are pinned here and built from source into .tools.
GOLANGCI_VERSION   := v2.15.0
PROTOC_GEN_GO      := v1.36.12
PROTOC_GEN_GO_GRPC := v1.6.2
GOVULNCHECK        := v1.8.0

WEB_SOURCES := $(shell find web/src web/index.html web/package-lock.json web/vite.config.ts web/tsconfig.json -type f 2>/dev/null)
PROTOS      := $(shell git ls-files '*.proto')

# The end-to-end tests measure frame rates and gaps: they have the machine to
# themselves, after the others.
E2E  := ./test/e2e/...
UNIT  = $(shell $(GO) list -tags $(TAGS) ./... | grep -v /test/e2e)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'

.PHONY: run
run: web build ## a three-node cluster on this machine: open the printed URL in two windows and talk
	@bin/talkd dev --nodes 3 --init-user admin:admin

.PHONY: build
build: ## bin/talkd, one static binary with the web client inside
	@$(GOBUILD) -o bin/talkd ./cmd/talkd

.PHONY: web
web: web/dist/index.html ## the web client (only when its sources changed)

# The built client is committed, so that the Go build needs no npm. A checkout
# gives all files one time, hence the comparison by content and not by time.
web/dist/index.html: $(WEB_SOURCES)
	@sum=$$(cat $(sort $(WEB_SOURCES)) | sha256sum | cut -d' ' -f1); \
	if [ "$$sum" != "$$(cat web/dist.sum 2>/dev/null)" ]; then \
	  $(MAKE) --no-print-directory web/node_modules/.package-lock.json; \
	  (cd web && npm run --silent build) && echo "$$sum" > web/dist.sum; \
	else touch $@; fi

web/node_modules/.package-lock.json: web/package-lock.json
	@cd web && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json

.PHONY: test
test: build chromium firefox netns web/node_modules/.package-lock.json ## every test but the long ones, browsers included
	@cd web && npm test --silent
	@$(GOTEST) -timeout 9m $(UNIT)
	@$(GOTEST) -count=1 -timeout 9m $(E2E) # Go knows nothing of the program that they start

.PHONY: e2e
e2e: build chromium firefox netns ## only the end-to-end tests, with their output
	@$(GOTEST) -count=1 -v -timeout 9m $(E2E)

.PHONY: race
race: ## every Go test but the end-to-end ones under the race detector
	@$(GOTEST) -race -timeout 20m $(UNIT)

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@for p in $$($(GO) list -tags $(TAGS) ./...); do \
	  for f in $$($(GOTEST) -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; $(GOTEST) -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; \
	  done; \
	done

# In virtual time a minute of a cluster takes a second or two. A failure prints
# its seed, which CHAOS_SEED repeats, and draws the history.
CHAOSTIME  ?= 10m
CHAOS_SEED ?= $(shell date +%s)
.PHONY: chaos
chaos: netns ## random faults for CHAOSTIME (10m) from CHAOS_SEED on, then every failure on real nodes
	@echo "the first seed is $(CHAOS_SEED)"
	@CHAOSTIME=$(CHAOSTIME) CHAOS_SEED=$(CHAOS_SEED) $(GOTEST) -count=1 -v -timeout 0 -run 'TestChaos$$' ./cluster | grep -v '^ *chaos_test.go.* [a-z ]*n[0-9]'
	@$(GOTEST) -count=1 -v -timeout 60m -run '^(TestFailures|TestPlanned)$$' ./test/e2e -args -lab.all

SOAKTIME ?= 1h
.PHONY: soak
soak: ## a call on three nodes for SOAKTIME (1h), every packet checked
	@$(GOTEST) -count=1 -v -timeout 0 -run '^TestLoadThreeNodes$$' ./test/e2e -args -load.window=$(SOAKTIME)

# The machine should have nothing else to do. BENCH=quick is for while working on
# the code; samples are in bin/bench.json.
BENCH ?= all
.PHONY: bench
bench: build ## CPU per forwarded packet against the least possible and against Pion (BENCH=quick for some minutes)
	@$(GO) build -tags $(TAGS) -o bin/mediabench ./media/bench
	@bin/mediabench $(if $(filter quick,$(BENCH)),-quick) -json bin/bench.json
	@$(if $(filter quick,$(BENCH)),,$(GOTEST) -count=1 -v -run '^TestServerCost$$' ./test/e2e \
	  -args -cost.warm-up=10s -cost.window=16s -cost.audience=50 -cost.meetings=10)

.PHONY: bench-connect
bench-connect: build ## how soon the first media come, and what a subscription costs that is there (3 minutes, a machine that does nothing else)
	@$(GOTEST) -count=1 -v -run '^(TestFirstMedia|TestSubscriptionMemory)$$' ./test/e2e \
	  -args -connect.rounds=60 -connect.speakers=20 -connect.listeners=20 -cost.window=10s

# PEER is the URL of another signaling server that serves any Nextcloud on this machine, PEER_RUN the command that
# runs it as one process, PEER_SECRET what it shares with Nextclouds: it does the same, by turns.
PEER_SECRET ?= the shared secret of tests
.PHONY: bench-signaling
bench-signaling: build ## what those cost a node who are there, come and talk, without media (PEER, PEER_RUN, PEER_SECRET: beside another server)
	@$(GOTEST) -count=1 -v -timeout 30m -run '^TestSignalingCost$$$(if $(PEER),/^(idle|room)$$)' ./test/e2e -args -signaling.idle=1000 -signaling.crowd=10000 \
	  -signaling.room=100 -signaling.window=10s -signaling.settle=20s \
	  $(if $(PEER),-signaling.turns=2 -signaling.peer=$(PEER) -signaling.peer-run='$(PEER_RUN)' -signaling.peer-secret='$(PEER_SECRET)')

.PHONY: gobench
gobench: ## Go benchmarks of the packet path and of the state machine
	@$(GOTEST) -run '^$$' -bench . -benchmem ./store/... ./cluster/... ./media/... ./signaling/...

.PHONY: lint
lint: $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) web/node_modules/.package-lock.json ## vet, the import arrows, formatting, the web client's types
	@$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) run --timeout 15m
	@$(GO) mod tidy -diff
	@cd web && npm run --silent check && npm run --silent lint
	@sum=$$(cat $(sort $(WEB_SOURCES)) | sha256sum | cut -d' ' -f1); \
	[ "$$sum" = "$$(cat web/dist.sum)" ] || { echo "web/dist is older than web/src: run 'make web' and commit it" >&2; exit 1; }

.PHONY: proto
proto: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## the generated RPC code, after a change of a .proto
	@command -v protoc >/dev/null || apt-get install -y protobuf-compiler
	@PATH=$(TOOLS):$$PATH protoc --go_out=. --go_opt=paths=source_relative \
	  --go-grpc_out=. --go-grpc_opt=paths=source_relative $(PROTOS)

.PHONY: vuln
vuln: ## known vulnerabilities of the module graph (needs the vulnerability database)
	@$(GO) run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) -tags $(TAGS) ./...

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no Chromium here and not root: the browser tests will be skipped" >&2

.PHONY: firefox
firefox:
	@command -v firefox >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq firefox-esr >/dev/null; } || \
	  echo "no Firefox here and not root: its test will be skipped" >&2

# The failures of real nodes need machines of their own: network namespaces.
.PHONY: netns
netns:
	@command -v nft >/dev/null && command -v ip >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nftables iproute2 >/dev/null; } || \
	  echo "no nft or ip here and not root" >&2
	@ip netns add talkd-probe 2>/dev/null && ip netns del talkd-probe || \
	  echo "no network namespaces may be made here: the tests in them will be skipped" >&2
	@[ "$$(id -u)" = 0 ] || echo "not root: the tests of full disks will be skipped" >&2

$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION):
	@echo "building golangci-lint $(GOLANGCI_VERSION) (once, some minutes)"
	@GOFLAGS= GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(TOOLS)/golangci-lint $@

$(TOOLS)/protoc-gen-go:
	@GOBIN=$(TOOLS) $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO)

$(TOOLS)/protoc-gen-go-grpc:
	@GOBIN=$(TOOLS) $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC)

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin coverage.out
