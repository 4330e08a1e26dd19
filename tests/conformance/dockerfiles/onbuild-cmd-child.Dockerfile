FROM layer-cake-test-onbuild-cmd
ENTRYPOINT ["show", "own"]
