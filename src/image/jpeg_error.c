/* SPDX-License-Identifier: MIT */
/* libjpeg's error manager: see jpeg_impl.h. */
#include "image/jpeg_impl.h"

#include <jerror.h>

static enum err code_of(int message)
{
    switch (message) {
    case JERR_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_SOF_UNSUPPORTED:
        return ERR_UNSUPPORTED;
    default:
        return ERR_FORMAT;
    }
}

static const char *meaning_of(int message)
{
    switch (message) {
    case JERR_INPUT_EOF:
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
        return "the JPEG ends early (truncated)";
    case JERR_OUT_OF_MEMORY:
        return "a JPEG";
    default:
        return code_of(message) == ERR_UNSUPPORTED ? "this kind of JPEG is not supported"
                                                   : "the JPEG is damaged";
    }
}

static void fail(j_common_ptr c)
{
    struct jpeg_failure *f = (struct jpeg_failure *)c->err;
    char text[JMSG_LENGTH_MAX];
    if (!f->rc) {
        f->mgr.format_message(c, text);
        f->rc =
            err_set(f->em, code_of(f->mgr.msg_code), "%s: %s", meaning_of(f->mgr.msg_code), text);
    }
    longjmp(f->jump, 1);
}

/* What cameras and editors write carelessly and every program reads all the same. */
static bool is_harmless(int message)
{
    switch (message) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
        return true;
    default:
        return false;
    }
}

static void on_message(j_common_ptr c, int level)
{
    if (level < 0 && !is_harmless(c->err->msg_code))
        fail(c);
}

static void on_output(j_common_ptr c)
{
    (void)c;
}

struct jpeg_error_mgr *jpeg_failure_init(struct jpeg_failure *f, struct errmsg *em)
{
    f->rc = ERR_OK;
    f->em = em;
    jpeg_std_error(&f->mgr);
    f->mgr.error_exit = fail;
    f->mgr.emit_message = on_message;
    f->mgr.output_message = on_output;
    return &f->mgr;
}
