FROM layer-cake-test-base
CMD ["show", "no newline"]