/* The functions that are measured, from the folder of the build. */
    .syntax unified
    .section .rodata
    .macro function name
    .global \name\()_start, \name\()_end
    .balign 4
\name\()_start:
    .incbin "\name\().wasm"
\name\()_end:
    .endm
    function small
    function alarm
    function celsius
