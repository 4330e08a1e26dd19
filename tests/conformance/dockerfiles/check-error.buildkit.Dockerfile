# check=error=true
# escape=`
FROM layer-cake-test-base
ENTRYPOINT ["show", `
  "a"]
