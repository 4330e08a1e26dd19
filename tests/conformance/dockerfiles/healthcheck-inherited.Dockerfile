FROM layer-cake-test-health
CMD ["show", "healthy"]
