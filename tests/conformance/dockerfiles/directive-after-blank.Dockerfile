
# escape=`
FROM layer-cake-test-base
CMD show a \
 b
