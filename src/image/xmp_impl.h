/* SPDX-License-Identifier: MIT */
/* What the XMP writer and the XMP reader agree on. */
#ifndef EASEL_IMAGE_XMP_IMPL_H
#define EASEL_IMAGE_XMP_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XMP_NAMESPACE "urn:x-easel:picture:1.0/"
#define XMP_NOTE_NAMESPACE "http://ns.adobe.com/xmp/note/"

/* Whether p starts with "x" and four hex digits, which after an underscore and before
 * another one stand for a character. */
bool xmp_is_escape(const uint8_t *p, size_t len);

#endif
