/* SPDX-License-Identifier: MIT */
#ifndef EASEL_BASE_CLOCK_H
#define EASEL_BASE_CLOCK_H

/* Seconds of a clock that never goes back; only differences mean anything. */
double clock_now_s(void);

#endif
