FROM layer-cake-test-base AS test
ENTRYPOINT ["show", "test"]
FROM layer-cake-test-base AS release
CMD ["show", "release"]
FROM release AS final
