/* What functions take of the emulated Arm MPS2 AN505 in wasm3, a line for each: heap, instructions to load, and for a message.
 *
 * Under `-icount shift=0` an instruction takes a nanosecond, and a tick of the core's clock, 20 MHz, 50 of them. The same as
 * firmware/mps2-an505/src/bin/figures.rs does with Eyot's engine: loading compiles all, a message goes into one `eyot_alloc`
 * block, and after it memory is what it was after loading. wasm3 has nothing for that: a copy is kept here. */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "m3_env.h"
#include "wasm3.h"

#define TICK_INSTRUCTIONS 50
#define TICKS_MASK 0xffffffu
#define STACK_BYTES (16 * 1024)
#define TOPIC "sensors/sim/raw"

#define SYST_CSR (*(volatile uint32_t *)0xe000e010)
#define SYST_RVR (*(volatile uint32_t *)0xe000e014)
#define SYST_CVR (*(volatile uint32_t *)0xe000e018)

extern const uint8_t small_start[], small_end[], alarm_start[], alarm_end[], celsius_start[], celsius_end[];

static const char payload[] = "{\"device\":\"mps2-an505\",\"t\":15.37,\"rh\":41.3,\"ts\":1}";
static unsigned emitted;

m3ApiRawFunction(host_emit) {
    m3ApiReturnType(int32_t)
    m3ApiGetArgMem(const uint8_t *, topic)
    m3ApiGetArg(uint32_t, topic_bytes)
    m3ApiGetArgMem(const uint8_t *, bytes)
    m3ApiGetArg(uint32_t, byte_count)
    m3ApiCheckMem(topic, topic_bytes);
    m3ApiCheckMem(bytes, byte_count);
    emitted++;
    m3ApiReturn(0);
}

/* `state_get` and `config_get` of a gateway that has nothing, and `state_set` of one that keeps nothing. */
m3ApiRawFunction(host_not_found) {
    m3ApiReturnType(int32_t)
    m3ApiReturn(-1);
}

m3ApiRawFunction(host_done) {
    m3ApiReturnType(int32_t)
    m3ApiReturn(0);
}

m3ApiRawFunction(host_log) {
    m3ApiSuccess();
}

m3ApiRawFunction(host_now_ms) {
    m3ApiReturnType(int64_t)
    m3ApiReturn(0);
}

struct function {
    IM3Environment environment;
    IM3Runtime runtime;
    IM3Function alloc, handle;
    uint8_t *memory, *snapshot;
    uint32_t memory_bytes;
};

static void must(M3Result result) {
    if (result) {
        printf("failed: %s\n", result);
        exit(1);
    }
}

/* Not every function has every import. */
static void link(IM3Module module, const char *name, const char *signature, M3RawCall call) {
    M3Result result = m3_LinkRawFunction(module, "eyot", name, signature, call);
    if (result != m3Err_functionLookupFailed) {
        must(result);
    }
}

static struct function load(const uint8_t *wasm, uint32_t wasm_bytes) {
    struct function function = {.environment = m3_NewEnvironment()};
    IM3Module module;
    function.runtime = m3_NewRuntime(function.environment, STACK_BYTES, NULL);
    must(m3_ParseModule(function.environment, &module, wasm, wasm_bytes));
    must(m3_LoadModule(function.runtime, module));
    link(module, "emit", "i(iiii)", host_emit);
    link(module, "log", "v(iii)", host_log);
    link(module, "now_ms", "I()", host_now_ms);
    link(module, "config_get", "i(iiii)", host_not_found);
    link(module, "state_get", "i(iiii)", host_not_found);
    link(module, "state_set", "i(iiii)", host_done);
    must(m3_CompileModule(module));
    must(m3_FindFunction(&function.alloc, function.runtime, "eyot_alloc"));
    must(m3_FindFunction(&function.handle, function.runtime, "eyot_handle"));
    IM3Function init;
    if (m3_FindFunction(&init, function.runtime, "eyot_init") == m3Err_none) {
        must(m3_CallV(init));
    }
    function.memory = m3_GetMemory(function.runtime, &function.memory_bytes, 0);
    function.snapshot = malloc(function.memory_bytes);
    if (!function.memory || !function.snapshot) {
        must("no room for memory and its copy");
    }
    memcpy(function.snapshot, function.memory, function.memory_bytes);
    return function;
}

static void unload(struct function *function) {
    free(function->snapshot);
    m3_FreeRuntime(function->runtime);
    m3_FreeEnvironment(function->environment);
}

static void message(struct function *function) {
    const uint32_t topic_bytes = sizeof(TOPIC) - 1, payload_bytes = sizeof(payload) - 1;
    uint32_t at = 0;
    int32_t code = 0;
    must(m3_CallV(function->alloc, topic_bytes + payload_bytes));
    must(m3_GetResultsV(function->alloc, &at));
    if (at == 0 || at > function->memory_bytes || function->memory_bytes - at < topic_bytes + payload_bytes) {
        must("eyot_alloc gave no room");
    }
    memcpy(function->memory + at, TOPIC, topic_bytes);
    memcpy(function->memory + at + topic_bytes, payload, payload_bytes);
    must(m3_CallV(function->handle, at, topic_bytes, at + topic_bytes, payload_bytes));
    must(m3_GetResultsV(function->handle, &code));
    if (code != 0) {
        must("eyot_handle gave an error");
    }
    memcpy(function->memory, function->snapshot, function->memory_bytes);
}

/* Instructions since `*ticks`, which must be fewer than 800 million, and sets it to now. */
static uint64_t since(uint32_t *ticks) {
    uint32_t now = SYST_CVR, past = (*ticks - now) & TICKS_MASK;
    *ticks = now;
    return (uint64_t)past * TICK_INSTRUCTIONS;
}

static void measure(const char *name, const uint8_t *wasm, const uint8_t *end, unsigned loads, unsigned messages) {
    uint64_t to_load = 0, to_run = 0;
    size_t before = mallinfo().uordblks;
    struct function function = load(wasm, end - wasm);
    size_t heap_bytes = mallinfo().uordblks - before;
    unload(&function);
    uint32_t ticks = SYST_CVR;
    for (unsigned n = 0; n < loads; n++) {
        function = load(wasm, end - wasm);
        unload(&function);
        to_load += since(&ticks);
    }
    function = load(wasm, end - wasm);
    emitted = 0;
    since(&ticks);
    for (unsigned n = 0; n < messages; n++) {
        message(&function);
        to_run += since(&ticks);
    }
    printf("%s: %u bytes, %u of heap, %u instructions to load, %u a message, %u emitted\n", name, (unsigned)(end - wasm),
           (unsigned)heap_bytes, (unsigned)(to_load / loads), (unsigned)(to_run / messages), emitted / messages);
    unload(&function);
}

int main(void) {
    SYST_RVR = TICKS_MASK;
    SYST_CVR = 0;
    SYST_CSR = 0x5; /* the core's clock, counting, no interrupt */
    measure("small", small_start, small_end, 100, 2000);
    measure("alarm", alarm_start, alarm_end, 10, 1000);
    measure("celsius", celsius_start, celsius_end, 10, 1000);
    printf("end\n");
    return 0;
}
