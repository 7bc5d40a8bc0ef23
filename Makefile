# Every target works on a clean checkout. demo, test and bench need root: they
# make network namespaces, and install what Debian packages they miss.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION)
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: all build demo test test-quick lint bench packages clean

all: build

build: ## the binaries, static, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/... ./e2e/demo ./e2e/peer

demo: packages build ## the whole story on this machine, in under 90 s; KEEP=1 leaves it running
	./bin/demo

test: packages ## everything, with the race detector
	./e2e/test.sh

test-quick: ## what needs neither root nor packages
	$(GO) test -short ./events/... ./policy/... ./scheduler/... ./cmd/...

lint:
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run ./...

bench: packages ## BENCH=pattern runs a part; writes bench.json
	$(GO) run ./e2e/bench '$(or $(BENCH),.)'

packages:
	@./e2e/packages.sh

clean:
	rm -rf bin bench.json
