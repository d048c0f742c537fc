/* The start of the processor: floating point on, then `main`, whose output goes to QEMU by semihosting. */
#include <stdint.h>
#include <stdlib.h>

#define CPACR (*(volatile uint32_t *)0xe000ed88)

extern uint32_t stack_top;
extern void initialise_monitor_handles(void);
extern int main(void);

void reset(void) {
    CPACR |= 0xf << 20;
    __asm__ volatile("dsb; isb");
    initialise_monitor_handles();
    exit(main());
}

__attribute__((section(".vectors"), used)) static void *const vectors[] = {&stack_top, (void *)reset};
