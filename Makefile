# Every target sets up what it needs and is otherwise silent. CI calls nothing but these.
CARGO ?= cargo
SHIM  := $(CARGO) build --quiet --release --manifest-path interp/Cargo.toml
WORLD := $(CARGO) run --quiet --manifest-path tests/world/Cargo.toml --

.PHONY: demo test browser check bench figures soak world tools clean

## demo: run a real foreign program in a NixOS-like root, and show each library that it is given
demo: world
	@$(SHIM)
	@$(CARGO) test --quiet --package sonde --test demo

## test: every test, in the test world
test: world
	@$(SHIM)
	@$(CARGO) test --quiet --manifest-path tests/world/Cargo.toml
	@$(CARGO) test --quiet --manifest-path interp/Cargo.toml --lib
	@# The engine that programs get where inline stands back; those who ask for one by name have theirs in any run.
	@SONDE_TEST_ENGINE=Seccomp $(CARGO) test --package sonde --test tests -- programs:: identity:: loading:: children:: search::
	@$(CARGO) test --workspace

## browser: the page of `sonde trace --html` in Chromium, which is installed if it is not there (Debian: 124 MB)
browser: world
	@$(SHIM)
	@command -v chromium >/dev/null || apt-get install -qq -y --no-install-recommends chromium >/dev/null
	@$(CARGO) test --package sonde --test tests trace::page

## check: formatting, lints, documentation, a moment of each fuzz target, licences and advisories
check: tools
	@.ci/check

## bench: what Sonde costs beside what others cost, on one page; it is kept as target/bench/results.md
bench: world
	@.ci/tools bench || true # what is missing is left out
	@$(SHIM)
	@$(CARGO) bench --quiet --package sonde

## figures: put what `make bench` measured last into docs/performance.md
figures:
	@cp target/bench/*.svg docs/performance/
	@sed -i -e '/^<!-- begin/r target/bench/results.md' -e '/^<!-- begin/,/^<!-- end/{/^<!-- /!d}' docs/performance.md

## soak: a day of use in eight minutes, and what the supervisor holds meanwhile
soak: world
	@$(SHIM)
	@$(CARGO) test --quiet --package sonde --test soak

## world: build the test world, if it is not there yet; its path is the last line
world: tools
	@$(WORLD) build

tools:
	@.ci/tools

clean:
	@$(CARGO) clean --quiet
	@$(CARGO) clean --quiet --manifest-path interp/Cargo.toml
	@$(CARGO) clean --quiet --manifest-path tests/world/Cargo.toml
