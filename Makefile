# midge: `make run` starts a broker on 127.0.0.1:1883, `make test` runs everything that must hold.
# `make help` lists the targets.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 60s
FUZZFLAGS ?=
SOAKTIME ?= 10m
ROUNDS   ?= 200
BENCH    ?= .
BENCHTIME ?= 1s
BENCHFLAGS ?=
# Names midge also answers to; mosquitto itself goes to sbin, as Debian has it.
LINKS    ?= mosquitto_pub mosquitto_sub mosquitto_rr mosquitto_passwd mosquitto_signal mosquitto_db_dump

# Where the shells look for completions.
BASHDIR  ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR   ?= $(PREFIX)/share/zsh/site-functions
FISHDIR  ?= $(PREFIX)/share/fish/vendor_completions.d

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X main.version=$(VERSION)
TOOLS    := bin/tools
# Tests that may run beside others mostly wait, for a broker or a tool: more of them at a time than there are processors.
# lint vets everything, so the tests do not.
TESTFLAGS ?= -vet=off -shuffle=on -timeout=20m -parallel=8

# The binary is built without cgo: it runs on any Linux, and cross-compiling needs no foreign C compiler. The race
# detector is the one thing that wants cgo; the test targets leave it on.
export GOFLAGS ?= -buildvcs=false

.DEFAULT_GOAL := build
.PHONY: help run build man install uninstall test test-race test-portable test-foreign check format fmt lint arch generated generate \
	cross bench bench-check bench-peers bench-go bench-client bench-durable bench-tls crash fuzz scale soak soak-durable powerloss mutate conformance cover dependencies clean FORCE

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 16

run: build ## a broker on 127.0.0.1:1883, reachable from this machine only
	./bin/midge serve

build: bin/midge ## bin/midge

bin/midge: FORCE
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/midge

man: build ## manual pages of all commands, bin/man/man1
	rm -rf bin/man
	./bin/midge man --dir bin/man

install: man ## into DESTDIR/PREFIX (default /usr/local), with the names of Mosquitto's programs as links
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin
	install -m 755 bin/midge $(DESTDIR)$(PREFIX)/bin/midge
	ln -sf ../bin/midge $(DESTDIR)$(PREFIX)/sbin/mosquitto
	for name in $(LINKS); do ln -sf midge $(DESTDIR)$(PREFIX)/bin/$$name || exit 1; done
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 bin/man/man1/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	./bin/midge completion bash > $(DESTDIR)$(BASHDIR)/midge
	for name in $(LINKS); do ln -sf midge $(DESTDIR)$(BASHDIR)/$$name || exit 1; done
	./bin/midge completion zsh > $(DESTDIR)$(ZSHDIR)/_midge
	./bin/midge completion fish > $(DESTDIR)$(FISHDIR)/midge.fish
	for name in $(LINKS); do ln -sf midge.fish $(DESTDIR)$(FISHDIR)/$$name.fish || exit 1; done

uninstall: ## removes what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/midge $(DESTDIR)$(PREFIX)/sbin/mosquitto $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(LINKS))
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/midge.1 $(DESTDIR)$(PREFIX)/share/man/man1/midge-*.1
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/man/man1/,$(addsuffix .1,mosquitto $(LINKS)))
	rm -f $(DESTDIR)$(BASHDIR)/midge $(addprefix $(DESTDIR)$(BASHDIR)/,$(LINKS)) $(DESTDIR)$(ZSHDIR)/_midge
	rm -f $(DESTDIR)$(FISHDIR)/midge.fish $(addprefix $(DESTDIR)$(FISHDIR)/,$(addsuffix .fish,$(LINKS)))

# --- tests ---------------------------------------------------------------------------------------------------------

test: ## everything: race detector on, the portable loop, other people's clients
	./tools/deps.sh
	$(MAKE) --no-print-directory test-race
	$(MAKE) --no-print-directory test-portable
	$(MAKE) --no-print-directory test-foreign

# Which packages go where: internal/arch/suites.
test-race: ## the whole suite; under the race detector, proved to be there first, whatever can have two goroutines
	$(GO) test -race -count=1 -tags racecheck ./test/race
	$(GO) test -gcflags=github.com/midgemq/midge/...=-d=checkptr $(TESTFLAGS) $$($(GO) run ./internal/arch/suites plain)
	$(GO) test -race $(TESTFLAGS) $$($(GO) run ./internal/arch/suites race)

test-portable: ## with goroutines in place of epoll: every package whose test program is another one then
	$(GO) test $(TESTFLAGS) -tags portable $$($(GO) run ./internal/arch/suites portable)

test-foreign: bin/midge ## mosquitto-clients, Paho, mqtt.js against the built binary
	$(GO) test -count=1 -timeout=20m -parallel=8 -tags foreign ./test/foreign/... ./test/cli

cover: ## coverage.out and coverage.html
	$(GO) test -coverprofile=coverage.out -coverpkg=./... ./...
	$(GO) tool cover -html=coverage.out -o coverage.html
	$(GO) tool cover -func=coverage.out | tail -n 1

bin/bench/load: FORCE
	@CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./bench/load

bench: bin/midge bin/bench/load ## midge beside mosquitto in all scenarios, about 30 minutes; writes bench/results.tsv (bench/README.md)
	$(GO) run ./bench/compare $(BENCHFLAGS)

bench-check: bin/midge bin/bench/load ## measures again and names what got slower than bench/results.tsv says
	$(GO) run ./bench/compare -check $(BENCHFLAGS)

bench-peers: ## bin/bench/peers: mochi and nats-server, for BENCHFLAGS='-peer …'
	cd bench/peers && CGO_ENABLED=0 $(GO) build -trimpath -o ../../bin/bench/peers .

bench-go: ## go test -bench with allocations; BENCH and BENCHTIME choose
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchtime=$(BENCHTIME) -benchmem ./...

bench-client: ## the client library beside paho.mqtt.golang and paho.golang
	cd bench/client && $(GO) run .

bench-tls: bin/midge ## 5,000 TLS connections: resident memory of each beyond a plain one, at most 16 KiB
	@mkdir -p bin
	$(GO) build -o bin/scale ./bench/scale
	bin/scale -real bin/midge -kind tls -limit 16

scale: bin/midge ## what a connection, a session and a subscription cost: a million synthetic ones, 19,000 real ones
	@mkdir -p bin
	$(GO) build -o bin/scale ./bench/scale
	for kind in idle persistent-1 ws; do bin/scale -kind $$kind || exit 1; done
	bin/scale -kind persistent-10 -n 300000
	for kind in idle persistent-1 persistent-10 ws tls; do bin/scale -real bin/midge -kind $$kind || exit 1; done

fuzz: ## every fuzz target for FUZZTIME (default 60s)
	$(GO) run ./internal/tools/fuzzall -time $(FUZZTIME) $(FUZZFLAGS)

reload-load: ## 200 reloads while 2,000 clients are busy; nobody dropped, nothing lost, changed rights in force at once
	$(GO) test -count=1 -timeout=30m -run TestReloadUnderLoad -v ./broker -args -reloads 200 -clients 2000

login-storm: ## delay of a stream of 1,000 messages a second while clients log in, beside the delay at rest
	$(GO) test -count=1 -timeout=10m -run TestLoginStormDelay -v ./broker -args -storm

soak: bin/midge ## connects, disconnects and traffic for SOAKTIME (default 10m); memory must stay flat
	SOAKTIME=$(SOAKTIME) $(GO) test -count=1 -timeout=0 -tags soak -v ./test/soak/...

crash: bin/midge ## ends the broker with SIGKILL ROUNDS times (default 200) under traffic, and flips a bit of its store each tenth time; nothing acknowledged may be missing that is not reported
	MIDGE=$(CURDIR)/bin/midge ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout=0 -v ./test/crash

bench-durable: bin/midge ## durable QoS 1 at persistence_sync flush: throughput, latency, CPU, bytes written
	MIDGE=$(CURDIR)/bin/midge $(GO) run ./bench/durable

soak-durable: bin/midge ## durable traffic for SOAKTIME; the store must not grow without cause
	MIDGE=$(CURDIR)/bin/midge $(GO) run ./bench/durable -soak $(SOAKTIME)

powerloss: ## the store crashes after each of 20,000 batches with unsynced bytes kept at random; each file operation fails once
	POWERLOSS=20000 $(GO) test -count=1 -timeout=0 -v -run 'PowerLoss|Kill|FileOperation' ./internal/store/pebblestore

mutate: ## seeded faults must all be caught, 90 % of the mechanical mutants; writes docs/mutants.md
	$(GO) run ./internal/tools/mutate faults -areas -min 100
	$(GO) run ./internal/tools/mutate operators -min 90 -write docs/mutants.md

# --- checks --------------------------------------------------------------------------------------------------------

check: format lint arch generated cross ## format, linters, shape of the tree, generated files, other platforms

$(TOOLS)/.built: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	cd tools && $(GO) build -o ../$(TOOLS)/ tool
	@touch $@

format: $(TOOLS)/.built
	@out=$$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 $(TOOLS)/gofumpt -l); \
	if [ -n "$$out" ]; then echo "not formatted (run: $(TOOLS)/gofumpt -w FILES):"; echo "$$out"; exit 1; fi

fmt: $(TOOLS)/.built ## formats every Go file
	git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 $(TOOLS)/gofumpt -w

lint: $(TOOLS)/.built
	$(GO) vet ./...
	$(GO) vet -tags portable ./...
	$(GO) vet -tags fuzz ./internal/cli/...
	$(GO) vet -tags foreign,soak,racecheck ./test/...
	$(TOOLS)/staticcheck ./...
	$(TOOLS)/staticcheck -tags portable ./internal/...
	$(TOOLS)/go-errorlint -errorf -asserts -comparison ./...
	$(TOOLS)/exhaustive -d -p ./...

arch: ## shape of the tree, names in documents
	$(GO) test ./internal/arch/...

generated: ## generated files must be what their generator writes now
	$(GO) mod tidy -diff
	$(GO) run ./internal/tools/conformance -check -strict
	$(GO) run ./internal/tools/mutate faults -verify -areas -min 100
	$(GO) run ./internal/tools/dependencies -check

generate: conformance dependencies ## writes all generated files anew

conformance: ## docs/conformance.md from the statement tables and the tags in tests and scripts
	$(GO) run ./internal/tools/conformance

dependencies: ## docs/dependencies.txt from what the linker takes
	$(GO) run ./internal/tools/dependencies

# go list -export compiles every package and links none: the links of all programs would take longer than the rest.
# vet type-checks all with the portable loop, and test-portable runs it.
cross: ## darwin, windows, arm64 must compile, and the program link
	for platform in darwin/arm64 windows/amd64 linux/arm64; do \
		export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		echo "$$platform"; \
		$(GO) list -trimpath -export -f '{{""}}' ./... && $(GO) build -trimpath -o /dev/null ./cmd/midge || exit 1; \
	done

clean: ## removes what was built
	rm -rf bin coverage.out coverage.html
