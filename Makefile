# Postern. `make help` lists targets and variables.
#
# Nothing here names a source file; where a file stands and how it is called says what becomes of it:
#   D/X.c            part of $(BUILD)/lib/libD.a
#   D/X_main.c       program $(BUILD)/bin/X
#   D/X_test.c       unit test $(BUILD)/test/D/X_test
#   tests/D/X_main.c helper program $(BUILD)/tests/D/X (load generators and the like)
#   tests/D/X_preload.c  library to be preloaded, $(BUILD)/tests/D/X.so, without sanitizers
#   tests/fuzz/fuzz_X.c  fuzz target $(BUILD)/fuzz/tests/fuzz/X
# Folders, tiers and vendor libraries are in tools/layers.list.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables --output-sync=target
ifeq ($(MAKELEVEL),0) # a -j on the command line wins
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
comma := ,

# --- variants: each has its own folder; a BUILD given by hand is taken as it is

ifeq ($(origin BUILD),undefined)
BUILD := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))$(if $(filter-out 0,$(DEBUG)),/debug)
endif
ifneq ($(words $(BUILD)),1)
$(error BUILD must be one folder name)
endif
PREFIX ?= /usr/local
ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
ifneq ($(filter default undefined,$(origin AR)),)
AR := ar
endif

WARN := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wvla -Wstrict-prototypes \
    -Wmissing-prototypes -Wformat=2 -Wundef
ifneq ($(filter-out 0,$(CI) $(WERROR)),)
WARN += -Werror
endif
OPT := -O2 -g
ifneq ($(filter-out 0,$(DEBUG)),)
OPT := -Og -g3 -DPOSTERN_DEBUG
else ifneq ($(SAN),)
OPT := -O1 -g
endif
ifneq ($(SAN),)
OPT += -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
else ifeq ($(filter-out 0,$(DEBUG)),)
OPT += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
BASE_CFLAGS := -std=c17 -D_GNU_SOURCE -I. $(WARN) $(OPT) -fPIE -fstack-protector-strong \
    -ffunction-sections -fdata-sections -pthread
BASE_LDFLAGS := -pie -pthread -Wl,-z,relro,-z,now,--as-needed,--gc-sections \
    $(if $(SAN),-fsanitize=$(SAN))

# --- what there is

FOLDERS := $(shell awk '!/^\#/ && NF { print $$2 }' tools/layers.list)
TEST_FOLDERS := $(patsubst %/,%,$(sort $(dir $(wildcard tests/*/*_main.c))))
SRCS := $(foreach d,$(FOLDERS),$(wildcard $(d)/*.c))
HDRS := $(foreach d,$(FOLDERS),$(wildcard $(d)/*.h))
TEST_SRCS := $(wildcard tests/*/*.c)
LIB_SRCS := $(filter-out %_test.c %_main.c,$(SRCS))
MAINS := $(filter %_main.c,$(SRCS))
UNITS := $(filter %_test.c,$(SRCS))
HELPERS := $(filter %_main.c,$(TEST_SRCS))
FUZZERS := $(filter tests/fuzz/fuzz_%.c,$(TEST_SRCS))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
lib = $(if $(filter $(1)/%,$(LIB_SRCS)),$(BUILD)/lib/lib$(1).a)
bin_of = $(BUILD)/bin/$(patsubst %_main.c,%,$(notdir $(1)))
PROGRAMS := $(foreach m,$(MAINS),$(call bin_of,$(m)))
UNIT_PROGRAMS := $(UNITS:%.c=$(BUILD)/test/%)
HELPER_PROGRAMS := $(HELPERS:%_main.c=$(BUILD)/%)
PRELOADS := $(patsubst %_preload.c,$(BUILD)/%.so,$(filter %_preload.c,$(TEST_SRCS)))
FUZZ_PROGRAMS := $(FUZZERS:tests/fuzz/fuzz_%.c=$(BUILD)/tests/fuzz/%)

# --- vendor libraries: $(BUILD)/deps.mk is made by tools/deps.sh, which installs what is missing

NO_BUILD := help clean distclean format format-check check-layers rfc-map deps deps-test
ifneq ($(filter-out $(NO_BUILD),$(or $(MAKECMDGOALS),all)),)
$(BUILD)/deps.mk: tools/deps.sh tools/packages.list tools/layers.list
	@tools/deps.sh build $@
include $(BUILD)/deps.mk

NEEDS := $(shell tools/needs $(FOLDERS) $(TEST_FOLDERS) tests/fuzz)
needs = $(patsubst $(1):%,%,$(filter $(1):%,$(NEEDS)))
libs = $(foreach f,$(1) $(filter-out $(1),$(call needs,$(1))),$(call lib,$(f)))
vendor = $(foreach f,$(call needs,$(1)),$(DEPS_LIBS_$(f)))
endif

# Write TEXT to FILE unless it says that already: what depends on FILE is rebuilt on a change only.
# $(call keep,FILE,TEXT)
keep = $(if $(call same,$(strip $(file <$(1))),$(strip $(2))),,$(shell mkdir -p $(dir $(1)))$(file >$(1),$(strip $(2))))
same = $(and $(findstring [$(1)],[$(2)]),$(findstring [$(2)],[$(1)]))

COMPILE = $(CC) $(BASE_CFLAGS) $(DEPS_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LINK = $(CC) $(BASE_LDFLAGS) $(DEPS_LDFLAGS) $(CFLAGS) $(LDFLAGS)

.PHONY: all libs
all: $(PROGRAMS) $(BUILD)/bin/.links ## build every program (default)
libs: $(foreach f,$(or $(F),$(FOLDERS)),$(call lib,$(f))) ## compile everything; F=FOLDER only that folder

ifdef DEPS_READY
$(call keep,$(BUILD)/flags,$(COMPILE) $(LINK))
$(foreach f,$(FOLDERS),$(if $(call lib,$(f)),$(call keep,$(BUILD)/lib/$(f).list,$(filter $(f)/%,$(LIB_SRCS)))))

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(COMPILE) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%.so: tests/%_preload.c
	@mkdir -p $(@D)
	@echo "  SO    $@"
	@$(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O1 -g -shared -fPIC -o $@ $< -ldl -pthread

# $(1) folder
define lib_rule
$(call lib,$(1)): $(call obj,$(filter $(1)/%,$(LIB_SRCS))) $(BUILD)/lib/$(1).list
	@echo "  AR    $$@"
	@rm -f $$@ && $(AR) rcs $$@ $$(filter %.o,$$^)
endef
$(foreach f,$(FOLDERS),$(if $(call lib,$(f)),$(eval $(call lib_rule,$(f)))))

# $(1) program, $(2) its sources, $(3) folder whose needs it has, $(4) options for the linker
define program_rule
$(1): $(call obj,$(2)) $(call libs,$(3)) $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	@$(LINK) $(4) -o $$@ $(call obj,$(2)) -Wl,--start-group $(call libs,$(3)) -Wl,--end-group $(call vendor,$(3)) -lm $(LDLIBS)
endef
folder_of = $(patsubst %/,%,$(dir $(1)))
$(foreach m,$(MAINS),$(eval $(call program_rule,$(call bin_of,$(m)),$(m),$(call folder_of,$(m)))))
$(foreach u,$(UNITS),$(eval $(call program_rule,$(u:%.c=$(BUILD)/test/%),$(u),$(call folder_of,$(u)))))
$(foreach h,$(HELPERS),$(eval $(call program_rule,$(h:%_main.c=$(BUILD)/%),$(h),$(call folder_of,$(h)))))
$(foreach f,$(FUZZERS),$(eval $(call program_rule,$(f:tests/fuzz/fuzz_%.c=$(BUILD)/tests/fuzz/%),$(f) \
    $(if $(FUZZ_CC),,tests/fuzz/replay.c),tests/fuzz,$(if $(FUZZ_CC),-fsanitize=fuzzer))))

-include $(patsubst %.o,%.d,$(call obj,$(SRCS) $(HELPERS) $(FUZZERS) tests/fuzz/replay.c))
endif

# Postfix's names for what postern does: links, as the table in cli/links.c has them
$(BUILD)/bin/.links: $(BUILD)/bin/postern
	@for n in $$($< help --links); do ln -sf postern $(@D)/$$n || exit 1; done; touch $@

# --- tests

# one test by T=base/slice, folders by F="store auth", otherwise all of them
UNIT_WANTED := $(if $(T),$(foreach t,$(T),$(BUILD)/test/$(patsubst %_test,%,$(t))_test),$(if \
    $(F),$(foreach f,$(F),$(filter $(BUILD)/test/$(f)/%,$(UNIT_PROGRAMS))),$(UNIT_PROGRAMS)))

.PHONY: unit unit-programs helpers
unit-programs: $(UNIT_WANTED)
helpers: $(HELPER_PROGRAMS) $(PRELOADS)
unit: $(UNIT_WANTED) ## unit tests; F=FOLDER only that folder, T=FOLDER/NAME one test, N=CASE one case
	+@tools/run-unit $(if $(N),-n '$(N)') $(UNIT_WANTED)

SAN_BUILD := $(BUILD)/san-address-undefined
SAN_MAKE = $(MAKE) --no-print-directory SAN=address,undefined BUILD=$(SAN_BUILD)
THIS_MAKE = $(MAKE) --no-print-directory BUILD=$(BUILD)
WITH_FUZZ = $(if $(and $(TEST),$(if $(findstring fuzz,$(TEST)),,1)),,+@$(THIS_MAKE) fuzz)
RUN = $(if $(filter-out 0,$(SANITIZE)),$(SAN_MAKE),$(THIS_MAKE)) run-tests KIND=

.PHONY: check interop soak bench quickstart run-tests
check: ## layers, unit tests under sanitizers, whole-program tests (with sanitizers too if SANITIZE=1)
	+@tools/deps.sh test
	+@tools/sum '$(THIS_MAKE) check-layers' '$(THIS_MAKE) all libs' '$(SAN_MAKE) unit' '$(RUN)check'
interop: ## whole-program tests against Postfix, Dovecot and MariaDB, unpacked in build/ref
	+@tools/deps.sh test
	+@tools/deps.sh interop
	$(WITH_FUZZ)
	+@POSTERN_FUZZ=$(abspath $(BUILD)/fuzz) $(RUN)interop
soak: ## long runs under load
	+@tools/deps.sh test
	$(WITH_FUZZ)
	+@POSTERN_FUZZ=$(abspath $(BUILD)/fuzz) $(RUN)soak
bench: ## measurements, see tests/bench
	+@tools/deps.sh test
	+@$(RUN)bench
# the scripts of tests/$(KIND); TEST="NAME..." only those. They find the programs by POSTERN_BUILD.
run-tests: all helpers
	+@. tools/env.sh; POSTERN_BUILD=$(abspath $(BUILD)) python3 tests/run.py $(KIND) $(TEST)
quickstart: all ## build, then start a mail server for trial in ./run
	+@tools/deps.sh quickstart
	+@. tools/env.sh; exec python3 tools/quickstart.py $(BUILD)/bin

# --- fuzzing: a build of its own, by the clang that has libFuzzer, else by CC and with the seeds only

.PHONY: fuzz fuzz-programs
fuzz-programs: $(FUZZ_PROGRAMS)
fuzz: ## fuzz targets of tests/fuzz, in build/fuzz/tests/fuzz
	@tools/deps.sh fuzz || echo "no libFuzzer: fuzz targets will only run their seeds"
	+@. tools/env.sh; cc=$$(tools/fuzz-cc); $(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CI= WERROR= \
	    SAN=$${cc:+fuzzer-no-link,}address,undefined FUZZ_CC=$$cc $${cc:+CC=$$cc} fuzz-programs

# --- style

CLANG_FORMAT = $(or $(shell command -v clang-format-14 || command -v clang-format),clang-format)
FORMATTED := $(SRCS) $(HDRS) $(TEST_SRCS) $(wildcard tests/*/*.h)

.PHONY: check-layers rfc-map format format-check lint lint-tidy lint-cppcheck
check-layers: ## every include obeys tools/layers.list
	@tools/check-layers
rfc-map: ## sections of RFCs that the code of IMAP and POP3 cites and no script shows
	@python3 tools/rfc-map.py
format: ## write all C files as .clang-format says; F=FOLDER only that folder
	@printf '%s\n' $(call in_folders,$(FORMATTED)) | xargs -r $(CLANG_FORMAT) -i
format-check: ## say which files `make format` would change
	@bad=$$(for f in $(call in_folders,$(FORMATTED)); do \
	    $(CLANG_FORMAT) --dry-run --Werror $$f 2>/dev/null || echo "  $$f"; done); \
	[ -z "$$bad" ] || { echo "make format would change:"; echo "$$bad"; exit 1; }
in_folders = $(if $(F),$(foreach f,$(F),$(filter $(f)/%,$(1))),$(1))

lint: lint-tidy lint-cppcheck ## clang-tidy and cppcheck, both without findings; F=FOLDER only that folder
lint-tidy: $(patsubst %.c,$(BUILD)/lint/%.ok,$(call in_folders,$(SRCS)))
$(BUILD)/lint/%.ok: $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY  $*.c"
	@clang-tidy --quiet $*.c -- $(filter-out -Werror,$(BASE_CFLAGS) $(DEPS_CFLAGS) $(CPPFLAGS)) 2>$@.err || \
	    { cat $@.err; exit 1; }
	@rm -f $@.err; touch $@
lint-cppcheck:
	@mkdir -p $(BUILD)/lint/cppcheck
	@printf '%s\n' $(call in_folders,$(SRCS)) | xargs -r cppcheck --quiet --std=c11 -I. -D_GNU_SOURCE \
	    --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingInclude --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
	    --suppress=unknownMacro --cppcheck-build-dir=$(BUILD)/lint/cppcheck

# --- the rest

.PHONY: install clean distclean deps deps-test help
# postern and its links are for people, so is postdrop, which they start; all other programs are started by postern.
# postdrop is set-gid, so that users who are not root have sendmail: the group is the operator's to make.
DEST = $(DESTDIR)$(PREFIX)
SBIN_PROGRAMS := %/postern %/postdrop
SETGID_GROUP ?= postdrop
install: all ## install to $(DESTDIR)$(PREFIX)
	install -d $(DEST)/libexec/postern $(DEST)/sbin $(DEST)/bin $(DEST)/lib $(DEST)/share/postern
	@for p in $(filter-out $(SBIN_PROGRAMS),$(PROGRAMS)); do \
	    echo install $$p; install -m 755 $$p $(DEST)/libexec/postern/ || exit 1; done
	@for p in $(filter $(SBIN_PROGRAMS),$(PROGRAMS)); do \
	    echo install $$p; install -m 755 $$p $(DEST)/sbin/ || exit 1; done
	@if [ "$$(id -u)" = 0 ] && getent group $(SETGID_GROUP) >/dev/null; then \
	    chgrp $(SETGID_GROUP) $(DEST)/sbin/postdrop && chmod 2755 $(DEST)/sbin/postdrop; \
	else echo "postdrop is not set-gid: only root can use sendmail. As root: groupadd --system $(SETGID_GROUP)," \
	    "then make install again"; fi
	@for n in $$($(BUILD)/bin/postern help --links); do ln -sf postern $(DEST)/sbin/$$n || exit 1; done
	@for n in mailq newaliases; do ln -sf ../sbin/postern $(DEST)/bin/$$n || exit 1; done
	@ln -sf ../sbin/sendmail $(DEST)/lib/sendmail
	@for f in $(wildcard etc/*); do [ ! -f $$f ] || \
	    install -m 644 $$f $(DESTDIR)$(PREFIX)/share/postern/ || exit 1; done
	@sed -i 's|/usr/local/|$(PREFIX)/|' $(DESTDIR)$(PREFIX)/share/postern/postern.service
	@for m in $(wildcard docs/man/*.[1-8]); do \
	    install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/} || exit 1; done
clean: ## remove what was built in $(BUILD)
	rm -rf $(addprefix $(BUILD)/,bin lib obj test tests lint fuzz flags deps.mk) $(BUILD)/san-* $(BUILD)/debug
distclean: ## remove build/ with every variant and all that was fetched
	rm -rf build
deps: ## install what building needs (make does it by itself)
	@tools/deps.sh build $(BUILD)/deps.mk
deps-test: deps ## install what the tests need (make check does it by itself)
	@tools/deps.sh test

help: ## this list
	@echo "targets:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18
	@echo "variables: CC CFLAGS CPPFLAGS LDFLAGS PREFIX DESTDIR"
	@echo "  BUILD=build/mine  build there instead of build/ (build/debug, build/san-...)"
	@echo "  DEBUG=1           no optimisation that a debugger minds, -DPOSTERN_DEBUG"
	@echo "  SAN=address,undefined | SAN=thread"
	@echo "  WERROR=1          warnings are errors; so they are when CI is set"
	@echo "  SANITIZE=1        whole-program tests use the sanitizers' build"
	@echo "  TEST='NAME...'    only these scripts of check, interop, soak, bench"
