/* SPDX-License-Identifier: MIT */
/* What the JPEG files of image/ share. libjpeg's headers need stdio first. */
#ifndef EASEL_IMAGE_JPEG_IMPL_H
#define EASEL_IMAGE_JPEG_IMPL_H

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include "image/image_impl.h"

#define JPEG_XMP_NAME "http://ns.adobe.com/xap/1.0/"             /* + NUL: 29 bytes */
#define JPEG_EXTENSION_NAME "http://ns.adobe.com/xmp/extension/" /* + NUL: 35 bytes */
#define JPEG_SEGMENT_BYTES_MAX 65533u

/* libjpeg's errors as ours: any error, and any warning that means lost data, jumps to
 * where failure_init's caller has called setjmp(f->jump), with rc and message set. */
struct jpeg_failure {
    struct jpeg_error_mgr mgr; /* first: libjpeg hands this address back */
    jmp_buf jump;
    enum err rc;
    struct errmsg *em;
};
struct jpeg_error_mgr *jpeg_failure_init(struct jpeg_failure *f, struct errmsg *em);

/* The texts as one or several XMP segments (APP1), between jpeg_start_compress and the
 * first row. prepared by jpeg_xmp_prepare, which may fail; writing may longjmp. */
struct jpeg_xmp {
    struct buf main;      /* one packet */
    struct buf extension; /* the packet of what did not fit, or empty */
    char guid[33];
};
NODISCARD enum err jpeg_xmp_prepare(struct jpeg_xmp *x, const struct image_texts *texts,
                                    struct errmsg *em);
void jpeg_xmp_write(struct jpeg_compress_struct *c, const struct jpeg_xmp *x);
void jpeg_xmp_deinit(struct jpeg_xmp *x);

/* The texts of the APP1 markers that libjpeg has saved. */
NODISCARD enum err jpeg_xmp_read(const struct jpeg_marker_struct *markers, struct image_texts *out,
                                 struct errmsg *em);

#endif
