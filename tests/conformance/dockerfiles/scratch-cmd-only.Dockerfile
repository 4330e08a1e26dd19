FROM scratch
COPY --from=layer-cake-test-base /bin/ /bin/
CMD ["/bin/busybox", "echo", "from scratch"]
