# syntax=docker/dockerfile:1

# The image: the one binary on Debian slim, run by an unprivileged user. Everything that it writes lies under /data, where it starts (the default store is
# ./credence-data): the root file system may be read-only. With its stores on PostgreSQL it writes nothing at all.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The profile `bench` is the one that is measured: optimised across crates.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile bench --bin credence \
    && install -D -m 0755 target/release/credence /out/credence

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Credence" \
      org.opencontainers.image.description="An event-sourced credential ledger" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
RUN install -d -o 65532 -g 65532 -m 0700 /data
COPY --from=build /out/credence /usr/local/bin/credence
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/credence/
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV CREDENCE_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Ready, that is: every store answers and the read models are fresh. The shell's own TCP, because the image has no HTTP client.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/ready HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["credence"]
CMD ["serve"]
