FROM layer-cake-test-base
ENTRYPOINT ["one"]
CMD ["one"]
ENTRYPOINT two
ENTRYPOINT ["show", "three"]
CMD ["a"]
CMD ["b"]
