FROM layer-cake-test-base AS a
ENTRYPOINT ["show", "parent"]
CMD ["never"]
FROM a
CMD ["child"]
