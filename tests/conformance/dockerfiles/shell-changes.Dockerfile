FROM layer-cake-test-base
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT show "$0" "$@"
SHELL ["/bin/busybox", "ash", "-c"]
RUN true
