# make check     format, lints, all tests: every crate, packages, rpm, one real redis if the corpus is there
# make e2e       the end-to-end tests alone
# make demo      a patch for a running daemon, from spec to effect and back, with the pause, and a fix that is refused
# make bench     cost of making and of applying a patch
# make corpus    real fixes, as a table: make corpus CASES="redis jq-CVE-2026-33947"; CASES=--cold compares with cold builds too
# make shipped   patches for the files of Debian's own packages, as a table: make shipped CASES="redis expat"; goes on where it was stopped
# make specs     a patch for each way to write a spec file in testdata/specs
# make pipelines the source RPM of a patch, built in a clean chroot as a build farm does it
# make walk      redis, three fixes: from a spec, a source RPM and a git tree, rpm -i under load and rpm -e, as a transcript
# make identity  packages built with and without the recorder, compared byte by byte
# make testdata  what the cases of the packages expect is what a cold build does, checked with nothing of upatch
# make faults    every system call of applying and taking out fails once, and is the applier's last once
# make soak      a patch goes into programs at work and out again: make soak CYCLES=10000 SUBJECTS="redis nginx hot"
# make kernel         patches of stock kernels are made and loaded in virtual machines: make kernel CASES=string
# make kernel-faults  upatch is killed at each step of loading and unloading a patch of the kernel, or the step fails
# make kernel-fixes   real fixes between two stock kernels, made for the older one and loaded there, as a table
# make kernel-figures what patches of a kernel cost, phase by phase, against its own build
# make kernel-cycles  a patch of the kernel goes in and out under load, in a virtual machine: make kernel-cycles CYCLES=1000
# make soak-random  random pairs of programs, patched live and compared with cold builds: make soak-random PAIRS=2000 SEED=1
# make soak-fidelity  random programs in pairs that differ in one thing: a patch for the one fits the other, or is refused:
#                make soak-fidelity PAIRS=3000 SEED=1
# make same-patches OLD=DIR
#                the patches of small cases of the corpus, made by the programs in OLD and by those of this tree, are the same
# make null-diff a comment on top of every file of a package changes nothing: make null-diff CASES="..."
# make fuzz      each reader of untrusted bytes: make fuzz FUZZ_SECONDS=300
# make install   puts what `make build` made into DESTDIR= PREFIX=/usr
# make dist      the sources and their crates as DIST=dist/upatch-VERSION.tar.gz, for builds without a network
# make rpm       RPMs of that tarball, in DIST; RPMBUILD=--nodeps where Rust does not come from an RPM
SHELL := /bin/bash
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
CASES ?=
FUZZ_SECONDS ?= 300
CYCLES ?= 10000
SUBJECTS ?=
PAIRS ?= 2000
SEED ?= 1
DIST ?= dist
RPMBUILD ?=
TARGET ?= $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
BIN = $(TARGET)/release
# The tests look here for the programs.
export UPATCH_BIN = $(abspath $(BIN))
# What is said of the applier as it is shipped is true of this one.
export UPATCH_RELEASED = $(abspath $(BIN)/upatch)
# A failed test tells what it saw, not where in the test code it saw it.
export RUST_BACKTRACE = 0

.PHONY: all build setup setup-corpus setup-kernel fmt locks clippy check test e2e demo bench corpus shipped specs pipelines walk identity testdata faults soak kernel kernel-fixes kernel-figures kernel-cycles kernel-faults \
	soak-random soak-fidelity null-diff same-patches fuzz install dist rpm clean

all: build

setup:
	@scripts/setup

setup-kernel:
	@scripts/setup --kernel

setup-corpus:
	@scripts/setup --corpus $(CASES)

build:
	$(CARGO) build --release --locked --workspace --bins

fmt:
	$(CARGO) fmt --all -- --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# The workspace of the fuzz targets has a lock file of its own, which has to follow.
locks:
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml > /dev/null

# The programs as they are built for the tests, with checks and for little time; as released only what is measured.
test: export UPATCH_BIN = $(abspath $(TARGET)/debug)
test:
	$(CARGO) build --release --locked -p applier --bins
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) test --locked --workspace --no-fail-fast

# End to end on packages, under rpm and on a real redis.
e2e: setup setup-corpus build
	$(CARGO) test --locked -p tests --no-fail-fast

check: setup setup-corpus setup-kernel fmt locks clippy test

# Only what the demo needs is installed and built; without optimisation, which takes half the time, unless
# `make build` was here before.
demo: DEMO = $(if $(wildcard $(BIN)/upatch-build),release,debug)
demo:
	@scripts/setup --demo
	$(CARGO) build $(if $(filter release,$(DEMO)),--release) --locked -p applier -p packager -p wrapper --bins
	scripts/demo $(TARGET)/$(DEMO)

bench: setup setup-corpus build
	$(BIN)/upatch-bench $(BENCH)

corpus: setup build
	@scripts/setup --corpus $(if $(filter-out --%,$(CASES)),$(CASES),all)
	$(BIN)/upatch-corpus $(CASES)

# One package at a time, and each installs what its build needs.
# Every way to write a spec file in testdata/specs.
specs: setup build
	UPATCH_SPECS=all $(CARGO) test --locked -p tests --test specs

# The source RPM of a patch, built as a build farm does it.
pipelines: setup build
	command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap
	scripts/pipelines $(BIN)

shipped: setup build
	$(BIN)/upatch-shipped $(CASES)

walk: setup setup-corpus build
	$(BIN)/upatch-walk $(CASES)

identity: setup build
	@scripts/setup --corpus $(or $(CASES),cjson-CVE-2023-50471 giflib-CVE-2026-26740 jq-CVE-2025-48060 less-CVE-2022-46663 \
	  libpng1.6-CVE-2025-64720 libde265-CVE-2023-27102 rsync-CVE-2024-12085)
	$(BIN)/upatch-identity $(CASES)

testdata: setup
	$(CARGO) test --locked -p tests --test testdata -- --ignored

faults: setup
	$(CARGO) test --locked -p applier --test syscalls -- --ignored --nocapture

soak: setup setup-corpus build
	@scripts/setup --soak
	$(BIN)/upatch-soak --cycles $(CYCLES) $(SUBJECTS)

# Downloads 220 MB a kernel once, and keeps the kernels and their prepared trees (1.5 GB each).
kernel: build
	@scripts/setup --kernel 6.1 6.12
	$(BIN)/upatch-kernel $(CASES)

kernel-fixes: build
	@scripts/setup --kernel 6.1.0-47-amd64 6.1.0-57-amd64
	$(BIN)/upatch-kernel --fixes $(CASES)

kernel-figures: build
	@scripts/setup --kernel
	$(BIN)/upatch-kernel --figures

kernel-cycles: build
	@scripts/setup --kernel
	UPATCH_BIN=$(BIN) CYCLES=$(if $(filter file,$(origin CYCLES)),1000,$(CYCLES)) $(CARGO) test --locked -p tests --test kernel_apply -- --ignored --nocapture cycles_under_load

kernel-faults: build
	@scripts/setup --kernel
	UPATCH_BIN=$(BIN) $(CARGO) test --locked -p tests --test kernel_apply -- --ignored --nocapture faults_at_every_step

soak-random: setup build
	$(BIN)/upatch-random --pairs $(PAIRS) --seed $(SEED)

soak-fidelity: setup build
	$(BIN)/upatch-soak-fidelity --pairs $(PAIRS) --seed $(SEED)

same-patches: setup build
	@[ -n "$(OLD)" ] || { echo "make same-patches OLD=DIR: where are the programs to compare with?" >&2; exit 2; }
	@scripts/setup --corpus $(or $(CASES),cjson giflib less)
	$(BIN)/upatch-same-patches --old $(OLD) $(CASES)

null-diff: setup setup-corpus build
	$(BIN)/upatch-null-diff $(CASES)

fuzz:
	scripts/fuzz $(FUZZ_SECONDS)

# Installs what is built, and does nothing else: no package manager, no compiler. The RPMs are made with it too.
install:
	@for program in upatch upatch-build upatch-diff upatch-cc; do [ -x $(BIN)/$$program ] || \
	  { echo "install: $(BIN)/$$program is not built: run 'make build' first, as the user who has Rust" >&2; exit 1; }; done
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/upatch
	install -m 755 $(BIN)/upatch $(BIN)/upatch-build $(BIN)/upatch-diff $(DESTDIR)$(PREFIX)/bin/
	sed "s/@VERSION@/$$($(BIN)/upatch --version | cut -d' ' -f2)/" rpm/upatch-repo > $(DESTDIR)$(PREFIX)/bin/upatch-repo
	chmod 755 $(DESTDIR)$(PREFIX)/bin/upatch-repo
	install -m 755 $(BIN)/upatch-cc $(DESTDIR)$(PREFIX)/libexec/upatch/
	install -D -m 644 packager/include/upatch.h $(DESTDIR)$(PREFIX)/include/upatch.h
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	$(BIN)/upatch man > $(DESTDIR)$(PREFIX)/share/man/man8/upatch.8
	$(BIN)/upatch-build man > $(DESTDIR)$(PREFIX)/share/man/man1/upatch-build.1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	set -e; for program in upatch upatch-build; do \
	  $(BIN)/$$program completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$program; \
	  $(BIN)/$$program completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$program; \
	  $(BIN)/$$program completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$program.fish; \
	done
	install -D -m 644 rpm/macros.upatch $(DESTDIR)$(PREFIX)/lib/rpm/macros.d/macros.upatch
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,/usr/bin/,$(PREFIX)/bin/,' rpm/upatch.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/upatch.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/upatch.service
	install -d $(DESTDIR)$(PREFIX)/share/doc/upatch
	cp -R README.md CHANGELOG.md CONTRIBUTING.md LICENSE-APACHE LICENSE-MIT docs $(DESTDIR)$(PREFIX)/share/doc/upatch/

# The sources with their crates as a tarball, and the packages that are made of it.
dist:
	scripts/dist $(DIST)

rpm: dist
	rpmbuild -ba --define '_sourcedir $(abspath $(DIST))' --define '_srcrpmdir $(abspath $(DIST))' --define '_rpmdir $(abspath $(DIST))' \
	  --define '_builddir $(abspath $(DIST))/build' $(RPMBUILD) $(DIST)/upatch.spec
	rm -rf $(DIST)/build

clean:
	$(CARGO) clean
