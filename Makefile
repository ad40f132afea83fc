# Thin recipes: what each does in full stands in the command it calls. `make check` is what a change must pass.

.DEFAULT_GOAL := help
.PHONY: help run test check soak bench bench-quick bench-growth bench-sealing

# cargo-nextest runs a test a process and tells slow ones apart; without it cargo's own runner does the same work.
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

help:
	@echo 'make run     serve on the embedded store in ./credence-data, http://127.0.0.1:8080'
	@echo 'make test    every test, on SQLite and on a real PostgreSQL (minutes); what CI runs'
	@echo 'make check   format, lints, make test, documentation, dependencies'
	@echo 'make soak    the long tests at full figures'
	@echo 'make bench   how fast it is on this machine, beside what the machine could do; half an hour'
	@echo 'make bench-quick  the same at a glance, in two minutes; no figures to be quoted'
	@echo 'make bench-growth  the same questions at ten thousand, one million and ten million events; hours, and 35 GB of disk'
	@echo 'make bench-sealing  what sealing and the subject look-up cost an issuance; minutes'

run:
	cargo run --locked --bin credence -- serve

test:
	scripts/install-test-needs
ifdef NEXTEST
	cargo nextest run --locked --workspace --no-fail-fast
	cargo test --locked --workspace --doc
else
	cargo test --locked --workspace --no-fail-fast
endif

check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(MAKE) test
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
	scripts/check-dependencies

soak:
	scripts/install-test-needs
	CREDENCE_SOAK=1 cargo test --locked --release -p credence-api --test system -- --nocapture

bench:
	scripts/install-test-needs
	cargo bench --locked -p credence-api --bench bench

bench-quick:
	scripts/install-test-needs
	cargo bench --locked -p credence-api --bench bench -- --quick

bench-growth:
	scripts/install-test-needs
	cargo bench --locked -p credence-api --bench bench -- --grow

# Two programs of one profile, so that they differ in nothing else: the bench finds the second beside the first.
bench-sealing:
	scripts/install-test-needs
	cargo build --locked --profile bench -p credence-api --features bench-unsealed --bin credence-unsealed
	cargo bench --locked -p credence-api --bench bench -- --sealing $(BENCH_OPTIONS)
