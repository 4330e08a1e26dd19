FROM layer-cake-test-base
RUN echo zero >/zero
FROM layer-cake-test-base
COPY --from=0 /zero /zero
COPY --from=layer-cake-test-both /bin/show /bin/show2
ENTRYPOINT ["show2", "zero"]
