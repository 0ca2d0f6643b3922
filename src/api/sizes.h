/* SPDX-License-Identifier: MIT */
/* The size of a picture for which none, or only its shape, was asked. */
#ifndef EASEL_API_SIZES_H
#define EASEL_API_SIZES_H

#include <stdbool.h>
#include <stddef.h>

#define SIZE_DEFAULT_PX 1024u

/* That of the reference, if the engine draws it; else scaled into what it draws, its shape kept
 * as well as that goes, in multiples of 16. */
void size_of_reference(size_t ref_width_px, size_t ref_height_px, unsigned *width_px,
                       unsigned *height_px);
/* "16:9": about a megapixel of that shape, in multiples of 16. false: not two numbers from 1 to
 * 9999; nothing is set. */
bool size_of_ratio(const char *ratio, unsigned *width_px, unsigned *height_px);

#endif
