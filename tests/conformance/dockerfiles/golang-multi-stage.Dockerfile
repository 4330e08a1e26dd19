# Build
FROM layer-cake-test-base AS build
WORKDIR /src
COPY app ./
ENTRYPOINT ["never", "this"]
RUN mkdir -p /out && cp /bin/busybox /out/app

# Run
FROM scratch
COPY --from=build /out/app /app
ENTRYPOINT ["/app", "echo", "--config=/etc/app.toml"]
