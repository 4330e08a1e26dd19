FROM layer-cake-test-onbuild
ENTRYPOINT ["show", "own"]
