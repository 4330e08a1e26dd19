FROM layer-cake-test-both
CMD ["c1"]
ENTRYPOINT ["show", "e1"]
