# syntax=docker/dockerfile:1.7-labs
# check=skip=JSONArgsRecommended
FROM --platform=$BUILDPLATFORM layer-cake-test-base AS build
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/root/.cache --mount=type=secret,id=key,required=true \
    --network=none \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app
FROM layer-cake-test-both
COPY --link --chmod=755 --from=build /app /app
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/x /x
ENTRYPOINT /app --listen :80
