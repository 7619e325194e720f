# Everything a person types here. `make` alone lists it.

PLATFORM ?= auto
SITE ?= site.toml
OUT ?= out
PREFIX ?= /usr/local
# Which of the long tests.
SOAK ?= soak::

CELLBOOT := target/release/cellboot
# What tests run with and is not ours: a client of OpenStack, the grammar of kickstarts.
VENV := target/vm/venv
# The code of the OpenStack releases, as far as it defines options of configuration files: of those
# that are the default of a platform, and of those that a site may ask for.
OPTIONS := target/options/venv
RELEASES := $(OPTIONS) target/options/zed
LATER := $(filter-out $(RELEASES) target/options/antelope,$(patsubst tests/%.txt,target/%,$(wildcard tests/options/*.txt)))
# Of all these, what this soak needs: the stand-in for Stream 9 runs Antelope's code.
SOAKED := $(if $(filter soak:: soak::the_later%,$(SOAK)),$(LATER)) \
	$(if $(filter soak:: soak::el9%,$(SOAK)),$(OPTIONS))
# What says of such a directory that all of it is there.
WHOLE := /whole
PIP := bin/pip install --quiet --disable-pip-version-check
# What a build and the lab run, besides what every Debian has: the program or the file, then the
# package.
HOST_TOOLS := curl:curl mmdebstrap:mmdebstrap newuidmap:uidmap mke2fs:e2fsprogs qemu-img:qemu-utils \
	qemu-system-x86_64:qemu-system-x86 vde_switch:vde-switch ssh:openssh-client \
	/usr/share/OVMF/OVMF_CODE_4M.fd:ovmf
# What a test of `make check` runs besides: a stand-in is written in it.
CHECK_TOOLS := python3:python3
# What only tests run: judges of what is written for others, the boot loader of a medium.
TEST_TOOLS := shellcheck:shellcheck virt-xml-validate:libvirt-clients xmllint:libxml2-utils \
	bmaptool:bmap-tools zstd:zstd /usr/lib/systemd/boot/efi/systemd-bootx64.efi:systemd-boot-efi
# What only `make soak` runs.
SOAK_TOOLS := virsh:libvirt-clients libvirtd:libvirt-daemon-system
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# What a make below another one starts is no make, and rustc complains of a jobserver that it cannot reach.
ifneq ($(MAKELEVEL),0)
unexport MAKEFLAGS MFLAGS
endif

.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

images: host-tools $(CELLBOOT) ## build both images and the seeds (PLATFORM= SITE= OUT=)
	@[ -e $(SITE) ] || $(CELLBOOT) init --site $(SITE)
	@$(CELLBOOT) build --site $(SITE) --platform $(PLATFORM) --out $(OUT)

seeds: $(CELLBOOT) ## write the seeds alone (PLATFORM= where the site leaves it open and nothing is built)
	@$(CELLBOOT) seed --site $(SITE) --out $(OUT) $(addprefix --platform ,$(filter-out auto,$(PLATFORM)))

lab: images ## boot the images as a cell on this machine and wait for READY
	@$(CELLBOOT) lab up --site $(SITE) --out $(OUT)

doctor: $(CELLBOOT) ## look whether this host has what building and booting need
	@$(CELLBOOT) doctor

check: HOST_TOOLS += $(CHECK_TOOLS)
check: host-tools ## format, lints and the tests that need no machine
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo test --workspace --quiet

# What is made first waits for compilers, for packages to unpack and for archives: side by side.
test: HOST_TOOLS += $(CHECK_TOOLS) $(TEST_TOOLS)
test: host-tools ## every test, boots of the images in QEMU included
	@$(MAKE) --no-print-directory --jobs=3 check images $(addsuffix $(WHOLE),$(VENV) $(RELEASES))
	cargo test --test it -- --ignored --nocapture --skip soak::
	OUT=$(OUT) cargo test --test vm -- --ignored --test-threads=2 --nocapture --skip soak:: --skip controller::
	OUT=$(OUT) cargo test --test vm -- --ignored --nocapture controller::

soak: HOST_TOOLS += $(SOAK_TOOLS)
soak: host-tools images $(addsuffix $(WHOLE),$(VENV) $(SOAKED)) ## what takes hours: the life of a cell, through power cuts (CUTS=10); a stand-in for Stream 9 (SOAK=soak::el9 for it alone)
	cargo test --test it -- --ignored --nocapture $(SOAK)
	OUT=$(OUT) cargo test --test vm -- --ignored --test-threads=1 --nocapture $(SOAK)

bench: images ## measure builds and the first boot, as ratios
	cargo bench --quiet --bench ratios

$(VENV)$(WHOLE): tests/vm/requirements.txt
	rm -rf $(@D)
	python3 -m venv $(@D) || { $(SUDO) apt-get install -qq -y python3-venv && python3 -m venv $(@D); }
	$(@D)/$(PIP) --requirement $<
	touch $@

$(OPTIONS)$(WHOLE): tests/options/antelope.txt $(VENV)$(WHOLE)
	rm -rf $(@D)
	python3 -m venv $(@D)
	$(@D)/$(PIP) --no-deps --requirement $<
	touch $@

# Beside Antelope's code, which has what is the same in all.
target/options/%$(WHOLE): tests/options/%.txt $(OPTIONS)$(WHOLE)
	rm -rf $(@D)
	$(OPTIONS)/$(PIP) --no-deps --target $(@D) --requirement $<
	touch $@

options: $(addsuffix $(WHOLE),$(RELEASES) $(LATER)) ## write anew what `cellboot check` knows of the options of each release
	$(OPTIONS)/bin/python tests/options/options.py catalogue >src/site/options/antelope.txt
	set -e; for release in $(filter-out venv,$(notdir $(RELEASES) $(LATER))); do \
		PYTHONPATH=target/options/$$release $(OPTIONS)/bin/python tests/options/options.py catalogue \
			>src/site/options/$$release.txt; \
	done

docs: $(CELLBOOT) ## write man pages, shell completions and the reference of site.toml
	@$(CELLBOOT) reference

install: $(CELLBOOT) docs ## install the program, its material, man pages and completions
	install -D -m 0755 $(CELLBOOT) $(DESTDIR)$(PREFIX)/bin/cellboot
	mkdir -p $(DESTDIR)$(PREFIX)/share/cellboot $(DESTDIR)$(PREFIX)/share/man/man1
	cp -R overlays kickstart $(DESTDIR)$(PREFIX)/share/cellboot/
	RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=target/agent cargo build --release \
		--locked --quiet --package firstboot --target x86_64-unknown-linux-gnu
	install -m 0755 target/agent/x86_64-unknown-linux-gnu/release/firstboot \
		$(DESTDIR)$(PREFIX)/share/cellboot/firstboot
	install -m 0644 target/reference/man1/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -D -m 0644 target/reference/completions/bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/cellboot
	install -D -m 0644 target/reference/completions/zsh \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cellboot
	install -D -m 0644 target/reference/completions/fish \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cellboot.fish

clean: ## remove what was built here; the cache and secrets/ stay
	cargo clean --quiet
	rm -rf $(OUT) .lab

# Looks again after installing: where a tool came from another archive, apt removes it for the sake
# of one that it was asked for, and it has to be asked for too.
host-tools: ## install the programs this host lacks (as root, or with sudo)
	@command -v cargo >/dev/null || { echo "Rust 1.95 or newer is not installed: https://rustup.rs" >&2; exit 3; }
	@for round in 1 2 3; do \
		missing=""; \
		for tool in $(HOST_TOOLS); do \
			[ -e "$${tool%%:*}" ] || PATH="$$PATH:/usr/sbin:/sbin" command -v $${tool%%:*} >/dev/null || \
				missing="$$missing $${tool##*:}"; \
		done; \
		[ -n "$$missing" ] || exit 0; \
		command -v apt-get >/dev/null && [ $$round != 3 ] || { echo "install these first:$$missing" >&2; exit 3; }; \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			$(SUDO) apt-get install -qq -y --no-install-recommends $$missing >/dev/null || exit 4; \
	done

# Cargo decides what is stale; make only asks.
$(CELLBOOT): FORCE
	@cargo build --release --locked --quiet --package cellboot

FORCE:
.PHONY: help images seeds lab doctor check test soak bench options docs install clean host-tools FORCE
