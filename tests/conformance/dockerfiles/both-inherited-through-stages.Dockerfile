FROM layer-cake-test-both AS a
FROM a AS b
USER 77
FROM layer-cake-test-base AS other
ENTRYPOINT ["never"]
FROM b AS c
