# nocturne: `make help` lists what can be made here.
SHELL    := /bin/bash
GO       ?= go
TAGS     := gosnmp_nodebug
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BIN      := bin/nocturne
# What the tests need from Debian; each is started on loopback and stopped after.
PACKAGES := snmpd snmp openssh-server chromium prometheus victoria-metrics nginx openssl debootstrap rpm busybox mksh buildah

.PHONY: help build packages run demo test check fmt vet lint fix tidy generated unit deps browser-deps assets generate docs release bench bench-night bench-tsdb bench-tsdb-growth screenshots clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

build: ## build bin/nocturne, stripped
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/nocturne

packages: ## make dist/: Debian and RPM package, static binary, container folder, bill of materials
	cd tools/packaging && GO='$(GO)' $(GO) run .

run: build ## build and serve: this machine at once, data in ./data, http://127.0.0.1:8080
	$(BIN) serve

demo: build ## build and serve a simulated hall with faults that repair themselves
	$(BIN) demo

test: deps check browser-deps ## everything: check, then every test on real components
	@GO='$(GO)' TAGS='$(TAGS)' bash tools/test-all

check: fmt vet lint fix tidy generated unit ## the quick one: format, vet, staticcheck, go fix, tidy, generated code, race

fmt:
	@f=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); [ -z "$$f" ] || { echo "not gofmt'ed: $$f"; exit 1; }

vet:
	$(GO) vet -tags $(TAGS) ./...
	cd tools/packaging && $(GO) vet ./...

lint:
	$(GO) tool staticcheck -tags $(TAGS) ./...

fix:
	@d=$$($(GO) fix -diff ./... 2>&1 | grep -v '^go: downloading'); [ -z "$$d" ] || { echo "$$d"; exit 1; }

tidy:
	$(GO) mod tidy -diff
	cd tools/packaging && $(GO) mod tidy -diff

generated:
	$(GO) tool templ generate -path views -check

unit:
	$(GO) test -tags $(TAGS) -race -short -timeout 20m ./...
	cd tools/packaging && $(GO) test ./...

deps: ## install what the tests need, on Debian as root
	@bash tools/debian-packages $(PACKAGES)
	@$(GO) test -timeout 30m -run '^(Test(Prometheus|Pebble|Versitygw)Runs|TestDebianIsWhole)$$' ./internal/need # makes them once, before tests wait for them

browser-deps:
	@bash tools/browser/install

assets: ## fetch the front-end's libraries and fonts anew into views/static/vendor
	cd tools/assets && npm ci --no-audit --no-fund && npm run --silent copy

generate: ## generate the templ code
	$(GO) tool templ generate -path views

docs: ## write the reference pages of docs anew, from the code
	$(GO) test -tags $(TAGS) -run '^TestReferencePages$$' ./cmd/nocturne -update-reference

release: ## keep a data folder of the version at PROGRAM as RELEASE, for the upgrades of later ones
	NOCTURNE_RELEASE=$(RELEASE) NOCTURNE_PROGRAM=$(PROGRAM) $(GO) test -tags $(TAGS) -count=1 -v -run '^TestMakeRelease$$' ./cmd/nocturne

bench: build ## the figures of docs/benchmarks.md: cold start, RSS, binary size, loop time
	NOCTURNE_BENCH=1 $(GO) test -tags $(TAGS) -count=1 -v -timeout 60m -run '^TestBench' ./cmd/nocturne

bench-night: build ## the figures of a large estate: start, RSS beside the library, backup, restore, upgrade
	NOCTURNE_BENCH_NIGHT=1 $(GO) test -tags $(TAGS) -count=1 -v -timeout 90m -run '^TestBenchNight$$' ./cmd/nocturne

bench-tsdb: ## history beside Prometheus, VictoriaMetrics and the bare library: artifacts/bench-tsdb.md
	NOCTURNE_BENCH_TSDB=1 $(GO) test -tags $(TAGS) -count=1 -v -timeout 180m -run '^TestBenchTSDB$$' ./tools/benchtsdb

SERIES ?= 10000,100000,500000
bench-tsdb-growth: ## the same at SERIES=10000,100000,500000, kept in docs/bench-growth.json, drawn into docs/images/bench-*.svg
	NOCTURNE_BENCH_TSDB=1 NOCTURNE_BENCH_GROWTH=1 NOCTURNE_BENCH_SERIES=$(SERIES) $(GO) test -tags $(TAGS) -count=1 -v -timeout 300m -run '^TestBenchTSDB$$/^(appends|servers)$$' ./tools/benchtsdb

clean: ## remove what was built
	rm -rf bin dist artifacts
