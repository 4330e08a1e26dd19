FROM layer-cake-test-health
HEALTHCHECK NONE
CMD ["show"]
