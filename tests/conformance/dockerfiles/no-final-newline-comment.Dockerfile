FROM layer-cake-test-base
CMD ["show"]

# the end