# SPDX-License-Identifier: Apache-2.0
#
# The thin front over Meson and Ninja. `make demo` and `make test` are the two to know; each target
# installs what it needs first (tools/deps) and says so.

export prefix ?= /usr/local
export FUZZ_SECONDS ?= 60

.PHONY: all release debug asan tsan demo test test-quick test-kube bench fuzz install clean

all: release

release debug asan tsan:
	@tools/build $@

demo: release
	@tools/deps demo
	@demo/run

test:
	@tools/deps test
	@tools/test all

test-quick:
	@tools/deps test
	@tools/test quick

# On a real kube-apiserver, which is built in minutes the first time (Go; tools/kube-apiserver).
test-kube:
	@tools/deps test
	@bin=$$(tools/kube-apiserver) && WEFT_KUBE_BIN=$$bin tools/test asan-kube

bench: release
	@tools/deps bench
	@bench/run

fuzz:
	@tools/deps test
	@tools/build fuzz
	@tools/fuzz

install: release
	@meson setup --reconfigure build/release -Dprefix="$(prefix)" >/dev/null
	@DESTDIR="$(DESTDIR)" meson install -C build/release --no-rebuild --quiet
	@echo "installed under $(DESTDIR)$(prefix)"

# Keeps the venv and the generated API code; `rm -rf build` forgets those too.
clean:
	@rm -rf build/release build/debug build/asan build/tsan build/fuzz build/test build/weft*
