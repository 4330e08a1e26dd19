FROM layer-cake-test-base
ENV A=b \
\
 C=d
CMD ["show", \   
"x"]
# trailing \
