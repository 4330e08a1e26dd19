FROM layer-cake-test-base
LABEL description="This text illustrates \
that label-values can span multiple lines." \
      org.example.list="a,b" \
      "with blanks"="and \"quotes\""
MAINTAINER Nobody <nobody@example.com>
CMD ["show"]
