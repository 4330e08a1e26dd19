FROM layer-cake-test-base AS sdk
ONBUILD ENV BUILT=yes
ONBUILD ENTRYPOINT show $BUILT
ONBUILD USER 12
FROM sdk
CMD ["ignored"]
