# Go, make and git are all this needs. Everything else, Traefik included, is
# built from the Go module proxy at the versions that the go.mod files pin.

GO ?= go

# How long each fuzz target runs.
FUZZTIME ?= 20s

# What compat runs in each older Traefik: what depends on which one it is.
COMPAT_SUITES ?= ./mirroring ./streams
COMPAT_FAULTS ?= TestClientsThatMisbehave|TestTrailers|TestLive|TestPause|TestConnections

# The race detector needs a C compiler; go says whether it has found one.
RACE ?= $(shell test "$$($(GO) env CGO_ENABLED)" = 1 && command -v "$$($(GO) env CC | cut -d' ' -f1)" >/dev/null 2>&1 && echo -race)

step = @printf '\n== %s\n'

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo run test lint unit yaegi_test e2e compat test-docker test-observability screenshots fuzz bench judgement vendor rename clean tools

help: ## list the targets
	@awk -F ': ## ' '/^[a-z0-9_-]+: ## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Built and not run with go run, which makes of Ctrl-C an error.
demo: ## show a real Traefik mirror traffic, then stop
	@mkdir -p bin && $(GO) build -C e2e -buildvcs=false -o '$(CURDIR)/bin/demo' ./cmd/demo
	@bin/demo

run: ## like demo, and keep it running until Ctrl-C
	@mkdir -p bin && $(GO) build -C e2e -buildvcs=false -o '$(CURDIR)/bin/demo' ./cmd/demo
	@bin/demo -keep

test: ## everything that must pass before a commit
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory yaegi_test
	@$(MAKE) --no-print-directory fuzz FUZZTIME=20000x
	@$(MAKE) --no-print-directory e2e
	$(step) 'all passed'

lint: tools
lint: ## gofmt, go vet, staticcheck, what Yaegi cannot run, the workflow
	$(step) 'gofmt'
	@files=$$(find . -name '*.go' -not -path './vendor/*' -exec gofmt -l {} +) || exit 1; \
	if [ -n "$$files" ]; then printf 'not formatted:\n%s\n' "$$files"; exit 1; fi
	$(step) 'go vet'
	@$(GO) vet ./...
	@$(GO) vet -C e2e ./...
	@$(GO) vet -C e2e/docker ./...
	@$(GO) vet -C examples/docker/billing ./...
	@$(GO) vet -C e2e/kubernetes ./...
	@$(GO) vet -C e2e/observability ./...
	$(step) 'staticcheck'
	@bin/staticcheck ./...
	@cd e2e && ../bin/staticcheck ./...
	@cd e2e/docker && ../../bin/staticcheck ./...
	@cd examples/docker/billing && ../../../bin/staticcheck ./...
	@cd e2e/kubernetes && ../../bin/staticcheck ./...
	@cd e2e/observability && ../../bin/staticcheck ./...
	$(step) 'yaegivet'
	@bin/yaegivet ./...
	$(step) 'actionlint'
	@bin/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml

unit: ## unit tests, compiled
	$(step) 'unit tests, compiled$(if $(RACE), with the race detector)'
	@$(if $(RACE),true,echo 'There is no C compiler, so the race detector is off: races go unseen in this run.')
	@$(GO) test $(RACE) -count=1 -timeout 15m ./...

yaegi_test: tools
yaegi_test: ## unit tests, interpreted as Traefik runs the plugin
	$(step) 'unit tests, interpreted$(if $(RACE), with the race detector)'
	@$(if $(RACE),true,echo 'There is no C compiler, so the race detector is off: races go unseen in this run.')
	@bin/yaegitest $(RACE) .
	@$(if $(RACE),printf '\n== %s\n' 'the order of copies under load with the race detector' && bin/yaegitest -race -host e2e -count=1 -timeout 20m -run '^TestSequence$$' ./interpreted,true)

e2e: ## the plugin in a real Traefik; the first run builds it, for some minutes
	$(step) 'the Traefik to test in'
	@$(GO) run -C e2e ./cmd/traefik
	$(step) 'end-to-end tests'
	@$(GO) test -C e2e ./... -count=1 -timeout 40m
	@$(GO) test -C e2e/kubernetes ./... -count=1 -timeout 10m

# TRAEFIK_BIN would be the same for all of them.
compat: ## end-to-end tests in older Traefiks; the first run builds each, for some minutes
	@unset TRAEFIK_BIN; \
	for mod in e2e/traefik?*/go.mod; do \
		export TRAEFIK_PIN=$$(basename "$$(dirname "$$mod")"); \
		printf '\n== end-to-end tests in the Traefik of e2e/%s\n' "$$TRAEFIK_PIN"; \
		$(GO) run -C e2e ./cmd/traefik || exit 1; \
		$(GO) test -C e2e $(COMPAT_SUITES) -count=1 -timeout 20m || exit 1; \
		$(GO) test -C e2e ./faults -run '$(COMPAT_FAULTS)' -count=1 -timeout 20m || exit 1; \
	done

# Built and not run with go test, which does not hand a signal on to the tests:
# they remove what they have made in the engine when they get one.
test-docker: ## the Docker example, in the Docker engine of this machine; pulls nothing
	$(step) 'the Traefik to test in'
	@$(GO) run -C e2e ./cmd/traefik
	$(step) 'the Docker example'
	@mkdir -p bin && $(GO) test -C e2e/docker -c -o '$(CURDIR)/bin/docker.test' .
	@exec bin/docker.test -test.v -test.timeout 30m

test-observability: ## the metrics in a real Prometheus, the report page in a real browser
	$(step) 'the Traefik to test in'
	@$(GO) run -C e2e ./cmd/traefik
	$(step) 'Prometheus and the browser'
	@$(GO) test -C e2e/observability ./... -count=1 -timeout 20m

screenshots: ## the pictures of the report page in docs, after some minutes of traffic
	@$(GO) run -C e2e ./cmd/traefik
	@$(GO) test -C e2e/observability . -run '^TestPicturesOfThePage$$' -count=1 -timeout 20m -traffic 4m -screenshots '$(CURDIR)/docs'

fuzz: ## run each fuzz target for FUZZTIME (20s)
	@for package in . ./compare; do \
		targets=$$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz') || { echo "no fuzz targets in $$package"; exit 1; }; \
		for target in $$targets; do \
			printf '\n== %s\n' "$$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# AGAINST is the folder of a checkout of another commit, whose plugin is measured
# beside this one.
bench: ## beside Traefik's own mirroring, for a quarter of an hour; writes docs/benchmarks.md
	@$(GO) run -C e2e ./cmd/bench $(if $(AGAINST),-against '$(abspath $(AGAINST))')

judgement: ## how often the verdict is wrong, by simulation; writes docs/judgement.md
	@$(GO) run -C e2e ./cmd/judge -o '$(CURDIR)/docs/judgement.md'

vendor: ## go mod tidy and go mod vendor
	$(GO) mod tidy
	$(GO) mod vendor

rename: ## publish under another module path: make rename MODULE=github.com/acme/mirror
	@test -n '$(MODULE)' || { echo 'usage: make rename MODULE=github.com/acme/mirror'; exit 2; }
	@$(GO) run -C e2e ./cmd/rename '$(CURDIR)' '$(MODULE)'

clean: ## remove what make has built
	rm -rf bin
	$(GO) clean -testcache

# Built and not run with go run, so that they run here, in the plugin's folder.
tools:
	@mkdir -p bin
	@$(GO) build -C e2e/tools -buildvcs=false -o '$(CURDIR)/bin/' honnef.co/go/tools/cmd/staticcheck github.com/rhysd/actionlint/cmd/actionlint
	@$(GO) build -C e2e -buildvcs=false -o '$(CURDIR)/bin/' ./cmd/yaegivet ./cmd/yaegitest
