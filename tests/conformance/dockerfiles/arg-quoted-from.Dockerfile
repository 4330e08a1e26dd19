ARG IMAGE="layer-cake-test-cmd"
FROM "$IMAGE"
