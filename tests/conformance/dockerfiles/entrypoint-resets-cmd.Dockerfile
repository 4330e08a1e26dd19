FROM layer-cake-test-both
ENTRYPOINT ["show", "alone"]
