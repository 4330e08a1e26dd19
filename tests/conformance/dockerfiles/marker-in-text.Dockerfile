FROM layer-cake-test-base
# >>> cake is what we had for tea
LABEL cake="# >>> cake"
CMD show '# >>> cake' \
# <<< cake
 '# <<< cake'
