FROM layer-cake-test-both
CMD []
