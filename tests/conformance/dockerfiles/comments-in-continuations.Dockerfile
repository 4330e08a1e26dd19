FROM layer-cake-test-base
RUN echo a \
# a comment

  # another, after a blank line
  && echo b \

  && echo c
ENTRYPOINT ["show", \
  # the config
  "--config", \
# "--debug", \
  "/etc/x" \
]
CMD [ \
  "a" \
]
