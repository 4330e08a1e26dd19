FROM layer-cake-test-base AS runtime
SHELL ["/bin/sh", "-ec"]
CMD show "from a stage" $0
FROM runtime
SHELL ["/bin/false"]
