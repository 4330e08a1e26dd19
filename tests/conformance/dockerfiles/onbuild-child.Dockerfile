FROM layer-cake-test-onbuild
EXPOSE 8080
