FROM layer-cake-test-both
ENTRYPOINT []
CMD ["show", "reset"]
