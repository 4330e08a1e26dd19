FROM layer-cake-test-base
ENTRYPOINT ["show", "first"]
CMD ["show", "second"]
ENTRYPOINT [  ]
