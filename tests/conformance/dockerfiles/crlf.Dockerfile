FROM layer-cake-test-base
# a comment
RUN echo a \
    && echo b
ENTRYPOINT ["show", "crlf"]
CMD ["a", \
     "b"]
