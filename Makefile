# Everything is in ./dev; these names are for fingers that type make.
.PHONY: demo test test-live lint fmt bench help
demo test test-live lint fmt bench help:
	@./dev $@
