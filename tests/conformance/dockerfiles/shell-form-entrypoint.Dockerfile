FROM layer-cake-test-base
ENTRYPOINT exec show "$HOME" 'single "double"' $((1 + 2)) `echo sub` ${X:-default}
CMD ["ignored", "but kept"]
