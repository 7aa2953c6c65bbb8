# Everything is in ./dev; these names are for fingers that type make.
.PHONY: demo test lint fmt bench help
demo test lint fmt bench help:
	@./dev $@
