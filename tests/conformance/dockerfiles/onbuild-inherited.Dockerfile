FROM layer-cake-test-onbuild-cmd AS one
FROM one AS two
FROM two
