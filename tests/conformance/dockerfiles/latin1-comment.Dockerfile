FROM layer-cake-test-base
# café ÿþ
CMD ["show", "latin1"]
# ä
