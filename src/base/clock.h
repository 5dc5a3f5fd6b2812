/* The clocks in use. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_monotonic_us(void);
int64_t clock_monotonic_ms(void);
/* The same, but late by up to a tick of the kernel (4 ms here), and several times cheaper. */
int64_t clock_coarse_ms(void);
/* CPU time that the calling thread has used. */
int64_t clock_thread_cpu_us(void);
/* Milliseconds since 1970-01-01 UTC. */
int64_t clock_realtime_ms(void);

#endif
