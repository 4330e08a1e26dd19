From layer-cake-test-base As Builder
Run echo x
fRoM builder
EntryPoint show "$0" mixed
cMd ["$0 of the shell"]
