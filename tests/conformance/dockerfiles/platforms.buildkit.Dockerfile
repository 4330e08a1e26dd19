FROM --platform=linux/amd64 layer-cake-test-both AS amd64
FROM --platform=linux/arm64 layer-cake-test-cmd AS arm64
FROM amd64
COPY --parents ./a/./b /c
