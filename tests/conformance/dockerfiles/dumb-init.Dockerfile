FROM layer-cake-test-base
ENTRYPOINT ["/bin/dumb-init", "--rewrite", "15:3", "--"]
CMD ["show", "--flag=a b"]
