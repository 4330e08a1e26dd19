FROM layer-cake-test-base AS rootfs
RUN mkdir -p /rootfs/bin /rootfs/home/nonroot && cp /bin/busybox /bin/show /rootfs/bin/ && ln -s busybox /rootfs/bin/sh && for x in printf id pwd; do ln -s busybox /rootfs/bin/$x; done
FROM scratch
COPY --from=rootfs /rootfs /
ENV PATH=/bin
USER 65532:65532
WORKDIR /home/nonroot
ENTRYPOINT ["/bin/show"]
