# Thin: Meson does the work. The two commands are `make demo` and `make test`.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@tools/setup.sh --check build
	@meson setup $(BUILD) >$(BUILD)-setup.log 2>&1 || { cat $(BUILD)-setup.log; rm -rf $(BUILD); exit 1; }
	@mv $(BUILD)-setup.log $(BUILD)/setup.log

# Install what the build needs, build, and draw a first picture.
demo:
	@tools/setup.sh build
	@$(MAKE) --no-print-directory all
	@$(BUILD)/easel draw "a red apple on a blue background" --seed 1 -o apple.png
	@echo "Your first picture is $(CURDIR)/apple.png"

# Install what the tests need, build three times (release; ASan and UBSan with the fuzz
# targets; TSan), run everything and print the sum.
test:
	@tools/setup.sh build test
	@tools/run_tests.py

# The figures of docs/performance.md for this machine.
bench: all
	@$(BUILD)/easel bench kernels

install: all
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-sanitize build-threads build-clients

.PHONY: all demo test bench install clean
