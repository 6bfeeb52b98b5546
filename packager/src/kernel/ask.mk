# What a folder's Makefile builds, asked by upatch-build: `make -f ask.mk srctree=. obj=fs/proc SRCARCH=x86`, in the
# kernel's tree. Prints "y OBJECT…", "m OBJECT…", "l OBJECT…" (lib-y) and for each "of OBJECT PART…".
src := $(obj)
obj-y :=
obj-m :=
lib-y :=
.PHONY: upatch-print
upatch-print:
-include include/config/auto.conf
-include scripts/Kbuild.include
-include scripts/Makefile.compiler
include $(firstword $(wildcard $(obj)/Kbuild) $(obj)/Makefile)
upatch-all := $(filter %.o,$(obj-y) $(obj-m) $(lib-y) $(lib-m))
$(info upatch y $(obj-y))
$(info upatch m $(obj-m))
$(info upatch l $(lib-y) $(lib-m))
$(foreach o,$(upatch-all),$(info upatch of $(o) $(foreach s,-objs -y -m,$($(o:.o=$(s))))))
upatch-print: ; @:
.DEFAULT_GOAL := upatch-print
