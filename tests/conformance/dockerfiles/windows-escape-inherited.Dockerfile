#escape = `
FROM layer-cake-test-base as first
USER 5:5
CMD ["show", "\\", "a\\`b", "`"]
FROM first
