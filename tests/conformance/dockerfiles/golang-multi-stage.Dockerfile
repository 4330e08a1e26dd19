# Build
FROM layer-cake-test-base AS build
WORKDIR /src
COPY app ./
ENTRYPOINT ["never", "this"]
RUN mkdir -p /out && cp /bin/busybox /out/busybox

# Run
FROM scratch
COPY --from=build /out/ /
ENTRYPOINT ["/busybox", "echo", "--config=/etc/app.toml"]
