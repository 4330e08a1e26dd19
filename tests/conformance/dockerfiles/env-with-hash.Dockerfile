FROM layer-cake-test-base
ENV COLOR=#fff A="x # y"
# ENTRYPOINT ["commented out"]
   # CMD also
CMD show $COLOR "$A" # shell comment
